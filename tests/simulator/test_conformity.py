"""The simulator against recordings of real servers: same answers, same messages, same order, same receivers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_simulator.files import Place
from comfysoak_simulator.server import Server
from tests.simulator.agreement import ADDITIONS_ALLOWED
from tests.simulator.recordings import Case, all_cases, picture
from tests.simulator.replay import Replay, serving

Json = Any

NOT_AGREEING = {
    "0.33.0/40_assets_enabled": "the simulator has no asset store (--enable-assets)",
    "0.33.0/41_progress_is_throttled": "which of 600 steps of 5 ms are told depends on how late the recorded machine's "
    "sleep woke; test_engine.py tests the rule",
}
CONTINUES = {"31_jobs_list_options": "30_jobs_lifecycle"}  # asks about what ran in another case
COSTS: dict[str, Any] = {
    "KSampler": {"steps": "{steps}", "seconds_per_step": 0.0135},
    "VAEDecode": {"seconds": 0.05},
    "ImageUpscaleWithModel": {"seconds": 0.05},
}
SLOWER: dict[str, Any] = {"42b_interrupt_within_a_step": {"KSampler": {"steps": "{steps}", "seconds_per_step": 30.0}}}
BEFORE = "beef0000-"  # how the ids begin of prompts that are gone again when the replay begins
CASES = {case.id: case for case in all_cases()}


@pytest.mark.parametrize("case_id", [case_id for case_id in CASES if case_id not in NOT_AGREEING])
def test_agrees_with_the_recording(case_id: str) -> None:
    """A case replayed against the simulator gives what the real server gave."""
    case = CASES[case_id]
    problems = asyncio.run(_replayed(case))
    assert not problems, "\n".join(problems[:12])


def test_few_cases_do_not_agree() -> None:
    """At most six recorded cases are listed as not agreeing, each of them a case that is there."""
    assert len(NOT_AGREEING) <= 6
    assert NOT_AGREEING.keys() <= CASES.keys()


async def _replayed(case: Case) -> list[str]:
    ADDITIONS_ALLOWED.set(case.inherited)
    clock = ManualClock()
    embedded = case.embedded({**COSTS, **SLOWER.get(case.name, {})})
    async with serving(embedded, clock, started="startup" not in case.name) as server:
        before = CONTINUES.get(case.name)
        if before is not None:
            await Replay(CASES[f"{case.version}/{before}"], server, clock).run()
        if "startup" not in case.name:
            await _prepare(case, server, clock)
        return await Replay(case, server, clock).run()


async def _prepare(case: Case, server: Server, clock: ManualClock) -> None:
    """Bring the server to where the cases before had brought the real one."""
    for name, content in _inputs_needed(case).items():
        server.machine.files.put(Place(name, "", "input"), content)
    async with aiohttp.ClientSession() as session:
        for body in _prompts_before(case):
            async with session.post(f"{server.url}/prompt", json=body) as answer:
                assert answer.status == 200, await answer.text()
            while server.engine.queue.remaining or not server.is_settled:
                await asyncio.sleep(0)
                if server.due_ns is not None and server.due_ns > clock.now_ns():
                    clock.set_ns(server.due_ns)
                    server.stir()
    for prompt_id in [known for known in server.engine.queue.history if known.startswith(BEFORE)]:
        del server.engine.queue.history[prompt_id]
    server.engine.counter = int(_first_number(case))


def _inputs_needed(case: Case) -> dict[str, bytes]:
    """Images that an earlier case had uploaded."""
    known = {part["filename"] for step in case.steps for part in step.get("multipart", ()) if "filename" in part}
    named = {
        str(node["inputs"]["image"])
        for step in case.prompts
        for node in _nodes(step["json"].get("prompt"))
        if isinstance(node, dict) and node.get("class_type") == "LoadImage"
    }
    named |= {
        name
        for step in case.steps
        if step["dir"] == "response" and step["path"] == "/object_info/LoadImage"
        for name in step["json"]["LoadImage"]["input"]["required"]["image"][0]
    }
    return {name: picture(3_151_226) for name in named - known if "not_there" not in name}


def _prompts_before(case: Case) -> list[dict[str, Json]]:
    """Prompts that leave the cache, and the history, as the first prompt of this case found them."""
    return _history_before(case) + _cached_before(case)


def _history_before(case: Case) -> list[dict[str, Json]]:
    own = {step["json"].get("prompt_id") for step in case.steps if _is_answer_to_prompt(step)}
    own |= {str(step["json"].get("prompt_id")) for step in case.prompts}
    found: dict[str, dict[str, Json]] = {}
    for step in case.steps:
        if step["dir"] == "response" and step["path"].startswith("/history") and isinstance(step.get("json"), dict):
            found |= {prompt_id: entry for prompt_id, entry in step["json"].items() if prompt_id not in own}
    bodies: list[dict[str, Json]] = []
    for entry in sorted(found.values(), key=lambda entry: entry["prompt"][0]):
        number, prompt_id, prompt, extra_data, _ = entry["prompt"]
        body = {"prompt": prompt, "prompt_id": prompt_id, "extra_data": extra_data, "number": number}
        if entry["status"]["messages"][1][1]["nodes"]:  # cached: the same ran just before
            bodies.append({**body, "prompt_id": BEFORE + prompt_id[len(BEFORE) :]})
        bodies.append(body)
    return bodies


def _cached_before(case: Case) -> list[dict[str, Json]]:
    for step in case.steps:
        if step["dir"] == "ws_recv" and step.get("json", {}).get("type") == "execution_cached":
            cached = step["json"]["data"]["nodes"]
            if not cached or not case.prompts:
                return []
            prompt = case.prompts[0]["json"]["prompt"]
            graph = {node_id: prompt[node_id] for node_id in cached}
            shown = {
                f"see{node_id}": _look_at(node_id) for node_id in cached if prompt[node_id]["class_type"] != "SaveImage"
            }
            return [{"prompt": json.loads(json.dumps({**graph, **shown})), "number": -1}]
    return []


def _look_at(node_id: str) -> dict[str, Json]:
    return {"class_type": "PreviewAny", "inputs": {"source": [node_id, 0]}}


def _nodes(prompt: Json) -> list[Json]:
    return list(prompt.values()) if isinstance(prompt, dict) else []


def _is_answer_to_prompt(step: dict[str, Json]) -> bool:
    if step["dir"] != "response" or step["method"] != "POST":
        return False
    return str(step["path"]).endswith("/prompt") and step["status"] == 200


def _first_number(case: Case) -> float:
    """The number of the first prompt, less those the refused ones before it took."""
    refused = 0
    for step in case.steps:
        if _is_answer_to_prompt(step):
            return float(step["json"]["number"]) - refused
        if step["dir"] == "response" and step["path"].endswith("/prompt") and step["status"] == 400:
            refused += 1
    return 0

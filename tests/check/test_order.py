"""The order of messages: as both versions were recorded, and with one thing wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfysoak.check.conversation.ear import Told
from comfysoak.check.conversation.order import mistakes_of_order, told_shortly
from comfysoak_core.comfyui.messages import Executing, ExecutionCached, ExecutionStart, Progress, Status, parse_text
from tests.conftest import DATA

RECORDINGS = DATA / "recordings"
CASES = (
    "01_success_fresh", "02_success_cached", "02b_success_partly_cached", "04a_execution_error",
    "04b_execution_error_oom", "05a_interrupt_global", "05b_interrupt_by_prompt_id", "05e_interrupt_ksampler",
    "06_queue_of_five", "07a_two_clients", "14a_model_load_vae", "14b_model_load_ksampler_previews",
    "18_subgraph_expansion", "20_cache_none", "21_async_nodes_overlap",
)  # fmt: skip


def ended_prompts(path: Path) -> list[tuple[str, list[Told], frozenset[str]]]:
    """Each prompt of a recording that ended on a socket: its id, what that socket was told, and its nodes with files.

    What came before the prompt was sent, and after its end, is left out.
    """
    sockets: dict[str, list[Told]] = {}
    found = []
    for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
        if step.get("dir") != "ws_recv" or "json" not in step:
            continue
        text = json.dumps(step["json"])
        told = sockets.setdefault(step["ws"], [])
        told.append(Told(round(step["t_ms"] * 1e6), parse_text(text), len(text)))
        last = told[-1].message
        if isinstance(last, Executing) and last.is_end and last.prompt_id:
            own = [one for one in told if one.message.prompt_id in {None, last.prompt_id}]
            found.append((last.prompt_id, own, files_of(own, last.prompt_id)))
    return found


def files_of(told: list[Told], prompt_id: str) -> frozenset[str]:
    """The nodes that `executed` told of."""
    own = [one.message for one in told if one.message.prompt_id == prompt_id and one.message.kind == "executed"]
    return frozenset(str(message.raw["data"]["node"]) for message in own)


RECORDED = [
    *(RECORDINGS / f"{case}.json" for case in CASES),
    *(path for path in sorted((RECORDINGS / "v0.33").glob("*.json")) if path.stem != "33_prompt_id_forms"),
]  # that one sends two prompts with one id


@pytest.mark.parametrize("path", [path for path in RECORDED if ended_prompts(path)], ids=lambda path: path.stem)
def test_recorded_orders_are_right(path: Path) -> None:
    """What real servers have sent is in order: fresh, cached, failed, interrupted, expanded, overlapping."""
    for prompt_id, told, showing in ended_prompts(path):
        assert mistakes_of_order(told, prompt_id, showing) == []


def without(kind: type) -> Callable[[list[Told]], list[Told]]:
    """All but the messages of a kind."""
    return lambda told: [one for one in told if not isinstance(one.message, kind)]


def without_end(told: list[Told]) -> list[Told]:
    """All but executing null."""
    return [one for one in told if not (isinstance(one.message, Executing) and one.message.is_end)]


def twice(told: list[Told]) -> list[Told]:
    """With the last message once more."""
    return [*told, told[-1]]


def swapped(told: list[Told]) -> list[Told]:
    """With execution_start and what follows it the wrong way round."""
    index = next(i for i, one in enumerate(told) if isinstance(one.message, ExecutionStart))
    return [*told[:index], told[index + 1], told[index], *told[index + 2 :]]


def silent_at_end(told: list[Told]) -> list[Told]:
    """Without the status before executing null."""
    index = max(i for i, one in enumerate(told) if isinstance(one.message, Status))
    return [*told[:index], *told[index + 1 :]]


def with_rubbish(told: list[Told]) -> list[Told]:
    """With something that is no message."""
    return [*told[:-1], Told(told[-1].at_ns, parse_text("{"), 1), told[-1]]


def without_states(told: list[Told]) -> list[Told]:
    """As servers sent it before there was progress_state."""
    return [one for one in told if one.message.kind != "progress_state"]


WRONG: dict[str, tuple[Callable[[list[Told]], list[Told]], str]] = {
    "no start": (without(ExecutionStart), "not execution_start"),
    "no cached": (without(ExecutionCached), "execution_cached came 0 times"),
    "no end": (without_end, "executing null came 0 times"),
    "two ends": (twice, "executing null came 2 times"),
    "start after cached": (swapped, "the first message about it was execution_cached"),
    "no status": (silent_at_end, "no status came between"),
    "rubbish": (with_rubbish, "no message"),
    "nothing": (lambda _told: [], "no message about the prompt came"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    """One change to a recorded order gives a complaint that names it."""
    spoil, words = WRONG[name]
    ((prompt_id, told, showing),) = ended_prompts(RECORDINGS / "01_success_fresh.json")
    assert any(words in mistake for mistake in mistakes_of_order(spoil(told), prompt_id, showing))


def test_servers_before_progress_state_are_in_order() -> None:
    """No message is asked for that older servers do not send."""
    ((prompt_id, told, showing),) = ended_prompts(RECORDINGS / "01_success_fresh.json")
    assert mistakes_of_order(without_states(told), prompt_id, showing) == []


def test_files_without_executed_are_named() -> None:
    """History has files of a node, and no message told of them."""
    ((prompt_id, told, _),) = ended_prompts(RECORDINGS / "01_success_fresh.json")
    assert any("history has files of node 99" in one for one in mistakes_of_order(told, prompt_id, frozenset({"99"})))


def test_progress_that_falls_is_named() -> None:
    """A value below the one before is none that a ComfyUI sends."""
    told = [
        message({"type": "progress", "data": {"node": "1", "prompt_id": "p", "value": v, "max": 5}}) for v in (3, 2)
    ]
    assert isinstance(told[0].message, Progress)
    assert any("fell from 3 to 2" in one for one in mistakes_of_order(told, "p"))


def test_messages_are_counted_by_kind() -> None:
    """The end is counted apart from the nodes."""
    ((prompt_id, told, _),) = ended_prompts(RECORDINGS / "01_success_fresh.json")
    words = told_shortly(told, prompt_id)
    assert "1 execution_start" in words
    assert "3 executing, " in words
    assert "1 executing null" in words


def message(document: dict[str, Any]) -> Told:
    """One that came at 0."""
    text = json.dumps(document)
    return Told(0, parse_text(text), len(text))

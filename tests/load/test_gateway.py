"""Load through a gateway: Locust as users start it, a virtual gateway, and what is recorded of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comfysoak_core.codes import Code
from comfysoak_core.gateway.api import APIS, ApiName
from comfysoak_core.gateway.prompts import Images
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Arrivals, Stage
from comfysoak_core.scenario.workload import Workload
from tests.load.locusting import LOCUSTFILES, ended, planned_locust, rows, runs_in

TOKEN = "a-token-that-nobody-may-see"  # nobody's


@contextmanager
def standing(folder: Path, **target: Any) -> Iterator[tuple[str, str]]:
    """A virtual gateway with its ComfyUI; the base URLs of both."""
    settings = {"speed": 100, **target}
    config = folder / "target.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak_simulator", "--config", str(config), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SIM_TOKEN": TOKEN},
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        yield told["gateway"], told["servers"][0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def workload(name: str = "cats", deadline_s: float = 20.0, **images: Any) -> Workload:
    asked = {"prompts": (f"{name} {{number}}",), "n": 2, "size": (64, 32), "steps": 1, **images}
    return Workload(name=name, images=Images(**asked), deadline_s=deadline_s)


def plan(
    gateway: str, comfyui: str | None, *workloads: Workload, stage: Stage | None = None, api: ApiName = "open-webui"
) -> Plan:
    return Plan(
        name="through-a-gateway",
        servers=(comfyui,) if comfyui is not None else (),
        gateway=Gateway(url=gateway, api=APIS[api], token_variable="SIM_TOKEN"),  # a variable's name
        workloads=workloads or (workload(),),
        stages=(stage or Stage(duration_s=1.5, users=Line(start=2, end=2)),),
    )


def run(folder: Path, asked: Plan, *options: str) -> list[dict[str, Any]]:
    """The prompts of a planned run."""
    locustfile = LOCUSTFILES / "gateway.py"
    process, recording = planned_locust(folder, asked, *options, locustfile=locustfile)
    ended(process)
    recording.seal("finished", 0)
    for path in recording.path.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    return rows(recording, "prompts")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a run find the token in their environment."""
    monkeypatch.setenv("SIM_TOKEN", TOKEN)


@pytest.mark.parametrize("api", ["open-webui", "openai"])
def test_users_ask_wait_fetch_and_check(tmp_path: Path, api: ApiName) -> None:
    """Rows as those of ComfyUI itself: times of ours and of the server's, two pictures each of the size asked for."""
    with standing(tmp_path, gateway={"api": api, "token_variable": "SIM_TOKEN"}) as (gateway, comfyui):
        prompts = run(tmp_path, plan(gateway, comfyui, api=api))
    assert len(prompts) >= 2
    for prompt in prompts:
        assert (prompt["outcome"], prompt["code"], prompt["error_message"]) == (Outcome.SUCCESS, None, None)
        assert (prompt["server"], prompt["outputs_received"], prompt["outputs_ok"]) == (gateway, 2, True)
        assert prompt["scheduled_ns"] <= prompt["sent_ns"] <= prompt["end_received_ns"] <= prompt["fetched_ns"]
        assert prompt["started_server_ns"] <= prompt["ended_server_ns"]


def test_arrivals_go_through_a_gateway_by_several_processes(tmp_path: Path) -> None:
    """Open load, dealt to two processes: every arrival is a row."""
    stage = Stage(duration_s=2.0, arrivals=Arrivals(rate_per_s=Line(start=5, end=5), process="constant"))
    with standing(tmp_path, gateway="open-webui") as (gateway, comfyui):
        prompts = run(tmp_path, plan(gateway, comfyui, stage=stage), "--processes", "2")
    assert len(prompts) == 10
    assert {prompt["outcome"] for prompt in prompts} == {Outcome.SUCCESS}
    assert {prompt["worker"] for prompt in prompts} == {"load-0", "load-1"}


def test_causes_are_asked_of_comfyui(tmp_path: Path) -> None:
    """200 with an empty list is the node's error, by name and node."""
    faults = [{"kind": "node-error", "node": "KSampler"}]
    with standing(tmp_path, gateway="open-webui", faults=faults) as (gateway, comfyui):
        prompts = run(tmp_path, plan(gateway, comfyui))
    assert {(prompt["outcome"], prompt["code"]) for prompt in prompts} == {(Outcome.FAILED, Code.NODE_ERROR)}
    assert {prompt["node_class"] for prompt in prompts} == {"KSampler"}


def test_without_comfyui_an_empty_list_is_told_as_that(tmp_path: Path) -> None:
    """Nobody else can be asked."""
    faults = [{"kind": "node-error", "node": "KSampler"}]
    with standing(tmp_path, gateway="open-webui", faults=faults) as (gateway, _):
        prompts = run(tmp_path, plan(gateway, None))
    assert {(prompt["outcome"], prompt["code"]) for prompt in prompts} == {(Outcome.FAILED, Code.GATEWAY_EMPTY)}


def test_an_end_that_is_never_told_is_a_hang(tmp_path: Path) -> None:
    """The deadline is ours: the gateway has none, its health is fine, and nobody behind it is known."""
    faults = [{"kind": "lose-messages"}]
    with standing(tmp_path, gateway="open-webui", faults=faults) as (gateway, _):
        prompts = run(tmp_path, plan(gateway, None, workload(deadline_s=0.8)))
    ended_ones = [prompt for prompt in prompts if prompt["outcome"] != Outcome.ABORTED]
    assert {(prompt["outcome"], prompt["code"]) for prompt in ended_ones} == {(Outcome.TIMEOUT, Code.GATEWAY_HANG)}
    assert all("work on" in prompt["error_message"] for prompt in prompts)


def test_an_old_gateway_ignores_the_size_and_that_is_told(tmp_path: Path) -> None:
    """One user at a time, as its requests share an id; the pictures are not what was asked for."""
    stage = Stage(duration_s=1.0, users=Line(start=1, end=1))
    with standing(tmp_path, gateway={"api": "open-webui-old", "size": "48x48"}) as (gateway, comfyui):
        prompts = run(tmp_path, plan(gateway, comfyui, stage=stage, api="open-webui-old"))
    assert {(prompt["outcome"], prompt["code"]) for prompt in prompts} == {(Outcome.FAILED, Code.OUTPUT_WRONG)}
    assert {prompt["error_message"] for prompt in prompts} == {"picture 1 of 2: 48x48 instead of 64x32"}


def test_plain_locust_goes_through_a_gateway(tmp_path: Path) -> None:
    """`locust -f locustfiles/gateway.py --host URL`, with the environment; the token is in no file."""
    with standing(tmp_path, gateway={"api": "open-webui", "token_variable": "SIM_TOKEN"}) as (gateway, comfyui):
        environment = {"COMFYSOAK_TOKEN": TOKEN, "COMFYSOAK_COMFYUI": comfyui, "COMFYSOAK_SIZE": "64x32"}
        process = subprocess.Popen(
            [sys.executable, "-m", "locust", "-f", str(LOCUSTFILES / "gateway.py"), "--host", gateway, "--headless",
             "-u", "2", "-r", "2", "-t", "2s"],
            cwd=tmp_path, env=os.environ | environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        ended(process)
    (recording,) = runs_in(tmp_path)
    outcomes = {prompt["outcome"] for prompt in rows(recording, "prompts")}
    assert outcomes <= {Outcome.SUCCESS, Outcome.ABORTED}
    assert Outcome.SUCCESS in outcomes
    assert not [path for path in recording.path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]

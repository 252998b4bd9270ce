"""Load through a gateway: Locust as users start it, a virtual gateway, and what is recorded of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
from tests.load.locusting import LOCUSTFILES, ended, free_ports, plain_locust, planned_locust, rows, runs_in

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


def test_arrivals_go_through_a_gateway_by_several_processes(tmp_path: Path) -> None:
    """Open load, dealt to two processes: every arrival is a row."""
    stage = Stage(duration_s=2.0, arrivals=Arrivals(rate_per_s=Line(start=5, end=5), process="constant"))
    with standing(tmp_path, gateway="open-webui") as (gateway, comfyui):
        prompts = run(tmp_path, plan(gateway, comfyui, stage=stage), "--processes", "2")
    assert len(prompts) == 10
    assert {prompt["outcome"] for prompt in prompts} == {Outcome.SUCCESS}
    assert {prompt["worker"] for prompt in prompts} == {"load-0", "load-1"}


Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def told(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What single requests became at gateways with troubles of each kind, by the name of the trouble."""
    fails = [{"kind": "node-error", "node": "KSampler"}]
    silent = [{"kind": "lose-messages"}]
    targets: dict[str, dict[str, Any]] = {
        "fails": {"gateway": "open-webui", "faults": fails},
        "silent": {"gateway": "open-webui", "faults": silent},
        "old": {"gateway": {"api": "open-webui-old", "size": "48x48"}},
        "openai": {"gateway": "openai"},
    }
    with ExitStack() as stack:
        os.environ["SIM_TOKEN"] = TOKEN
        at = {
            name: stack.enter_context(standing(tmp_path_factory.mktemp(name), **target))
            for name, target in targets.items()
        }
        short = workload(deadline_s=1.0)
        plans = {
            "fails": plan(*at["fails"]),
            "fails, nobody to ask": plan(at["fails"][0], None),
            "silent": plan(*at["silent"], workload(deadline_s=1.5)),
            "silent, nobody to ask": plan(at["silent"][0], None, short),
            "old": plan(*at["old"], api="open-webui-old"),
            "openai": plan(*at["openai"], api="openai"),
            "wrong route": plan(*at["openai"], short),
            "nobody there": plan(f"http://127.0.0.1:{free_ports(1)[0]}", None, short),
            "no address": plan(at["openai"][0], f"http://127.0.0.1:{free_ports(1)[0]}", api="openai"),
            "several": plan(*at["openai"], workload("cats"), workload("dogs"), workload("birds"), api="openai"),
        }
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "gateway_requests.py")],
            input=json.dumps([asked.model_dump(mode="json") for asked in plans.values()]),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(plans, json.loads(done.stdout), strict=True))


EXPECTED = {
    "fails": (Outcome.FAILED, Code.NODE_ERROR, None),
    "fails, nobody to ask": (Outcome.FAILED, Code.GATEWAY_EMPTY, "0 pictures instead of 2"),
    "silent": (Outcome.TIMEOUT, Code.DEADLINE, "no answer within 1.5 s: ComfyUI had ended it just before"),
    "silent, nobody to ask": (Outcome.TIMEOUT, Code.GATEWAY_HANG, "no answer within 1 s; gateway and ComfyUI work on"),
    "old": (Outcome.FAILED, Code.OUTPUT_WRONG, "picture 1 of 2: 48x48 instead of 64x32"),
    "openai": (Outcome.SUCCESS, None, None),
    "no address": (Outcome.SUCCESS, None, None),
    "several": (Outcome.SUCCESS, None, None),
}


def test_each_trouble_has_its_name_and_each_request_its_prompt(told: Rows) -> None:
    """By what the gateway says, and by what ComfyUI knows where it is named; requests at once are told apart."""
    first = {name: found[0] for name, found in told.items()}
    came = {name: (row["outcome"], row["code"], row["error_message"]) for name, row in first.items()}
    came["fails"] = (*came["fails"][:2], None)  # in the words of the node
    assert {name: came[name] for name in EXPECTED} == EXPECTED
    assert came["wrong route"][:2] == (Outcome.FAILED, Code.SUBMIT_ERROR)
    assert "is `api` the right one?" in came["wrong route"][2]
    assert came["nobody there"][:2] == (Outcome.FAILED, Code.SERVER_DOWN)
    assert (first["fails"]["http_status"], first["fails"]["node_class"]) == (200, "KSampler")
    assert first["no address"]["started_server_ns"] is None
    assert len({row["number"] for row in told["several"]}) == 3
    assert len({row["started_server_ns"] for row in told["several"]}) == 3


def test_plain_locust_goes_through_a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`locust -f locustfiles/gateway.py --host URL`, with the environment; the token is in no file."""
    with standing(tmp_path, gateway={"api": "open-webui", "token_variable": "SIM_TOKEN"}) as (gateway, comfyui):
        for name, said in {"TOKEN": TOKEN, "COMFYUI": comfyui, "SIZE": "64x32"}.items():
            monkeypatch.setenv(f"COMFYSOAK_{name}", said)
        options = ("--headless", "-u", "2", "-r", "2", "-t", "2s")
        ended(plain_locust(tmp_path, gateway, *options, locustfile=LOCUSTFILES / "gateway.py"))
    (recording,) = runs_in(tmp_path)
    outcomes = {prompt["outcome"] for prompt in rows(recording, "prompts")}
    assert outcomes <= {Outcome.SUCCESS, Outcome.ABORTED}
    assert Outcome.SUCCESS in outcomes
    assert not [path for path in recording.path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]

"""Users who cancel, give up, make mistakes and bring pictures, in Locust, against the simulator: two runs of a mix."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Arrivals, Stage
from comfysoak_core.scenario.workload import Cancel, GiveUp, Mistakes, Upload, Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.conftest import simulated
from tests.load.locusting import Rows, ended, planned_locust, rows

SLOW: dict[str, Any] = {  # 0.5 s at a hundred times the speed, and it looks at interrupts twenty times a second
    "1": {"class_type": "HarnessSteps", "inputs": {"steps": 10, "seconds_per_step": 5.0, "tag": "a"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "slow"}},
}
LOAD: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "loaded"}},
}
TAGS = Vary(inputs={"1.seconds_per_step": Range(5.0, 5.001)})
COLOUR = Vary(inputs={"1.color": Range(0, 0xFFFFFF)}, batch=(1, 2))


@dataclass(frozen=True)
class Mix:
    """What a run of several workloads left."""

    prompts: Rows  # as they were due
    said: str

    def of(self, workflow: str) -> Rows:
        """Those of one workload."""
        found = [row for row in self.prompts if row["workflow"] == workflow]
        assert found
        return found


def run(url: str, folder: Path, users: int, seconds: float, *workloads: Workload) -> Mix:
    stages = (Stage(duration_s=seconds, users=Line.level(users)),)
    plan = Plan(name="people", seed=5, servers=(url,), workloads=workloads, stages=stages)
    process, recording = planned_locust(folder, plan)
    said = ended(process)
    return Mix(sorted(rows(recording, "prompts"), key=lambda row: row["scheduled_ns"]), said)


@pytest.fixture(scope="module")
def leaving(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    """Users who do not wait for the end, on a server that runs one prompt at a time."""
    folder = tmp_path_factory.mktemp("leaving")
    with simulated() as (url, _):
        return run(
            url, folder, 4, 3.0,
            Workload(name="cancel", graph=SLOW, vary=TAGS, cancel=Cancel(share=1, after_s=(0.2, 0.4)), weight=2),
            Workload(name="quit", graph=SLOW, vary=TAGS, give_up=GiveUp(after_s=(0.2, 0.2), again=2), think_s=(1, 1)),
            Workload(name="withdraw", graph=SLOW, vary=TAGS, give_up=GiveUp(after_s=(0.3, 0.3), withdraw=True)),
        )  # fmt: skip


@pytest.fixture(scope="module")
def bringing(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    """Users who send mistakes and pictures, to a server that takes no large ones."""
    folder = tmp_path_factory.mktemp("bringing")
    (folder / "w.json").write_text(json.dumps(GRAPH))
    (folder / "small.yaml").write_text(
        "target: {embedded: {max_upload: 64 KiB}}\nworkload: [{workflow: w.json}]\nload: [{users: 1, for: 1s}]\n"
    )
    with simulated(str(folder / "small.yaml")) as (url, _):
        return run(
            url, folder, 3, 3.0,
            Workload(name="wrong", graph=GRAPH, vary=COLOUR, mistakes=Mistakes(share=0.8), front=0.5, weight=4),
            Workload(name="new", graph=LOAD, uploads=(Upload(input="1.image", each="prompt", size=(64, 32)),)),
            Workload(name="once", graph=LOAD, uploads=(Upload(input="1.image", size=(16, 16)),)),
            Workload(name="big", graph=LOAD, uploads=(Upload(input="1.image", size=(400, 400)),), weight=0.2),
        )  # fmt: skip


def test_cancelled_prompts_are_interrupted_or_deleted(leaving: Mix) -> None:
    """All end as interrupted, as expected: those that ran by a message, those that waited without a trace."""
    found = leaving.of("cancel")
    assert {(row["outcome"], row["expected"], row["code"]) for row in found} == {("interrupted", "interrupted", None)}
    assert all(row["cancel_asked_ns"] - row["scheduled_ns"] >= 200_000_000 for row in found)
    assert None in {row["end_source"] for row in found}
    assert "cancelled" in leaving.said


def test_users_give_up_and_try_again(leaving: Mix) -> None:
    """Attempts with the same inputs, each linked to the one before; what was left goes on, and is told."""
    found = leaving.of("quit")
    assert {(row["outcome"], row["code"], row["expected"]) for row in found} == {("given_up", "GAVE_UP", "success")}
    by_id = {row["id"]: row for row in found}
    again = [row for row in found if row["attempt"] > 1]
    assert again
    for row in again:
        before = by_id[row["retry_of"]]
        assert (before["attempt"], before["variation"]) == (row["attempt"] - 1, row["variation"])
        assert before["left_ns"] <= row["scheduled_ns"]
    assert all(row["retry_of"] is None for row in found if row["attempt"] == 1)
    assert max(row["attempt"] for row in found) <= 3
    worked_for_nobody = [row for row in found if row["ended_server_ns"] is not None]
    assert any(row["end_received_ns"] > row["left_ns"] and not row["cancel_asked_ns"] for row in worked_for_nobody)
    assert "given_up GAVE_UP" in leaving.said


def test_users_give_up_and_take_the_prompt_back(leaving: Mix) -> None:
    """With `withdraw` the server is asked for it at once."""
    found = leaving.of("withdraw")
    assert {(row["outcome"], row["code"]) for row in found} == {("given_up", "GAVE_UP")}
    assert all(row["cancel_asked_ns"] >= row["left_ns"] for row in found)


def test_mistakes_are_refused(bringing: Mix) -> None:
    """As is expected of them; the prompts beside them succeed, some at the front of the queue."""
    found = bringing.of("wrong")
    wrong = [row for row in found if row["deliberate"]]
    assert {(row["outcome"], row["expected"]) for row in wrong} == {("rejected", "rejected")}
    assert {row["outcome"] for row in found if not row["deliberate"]} <= {"success"}
    assert len({row["deliberate"] for row in wrong}) >= 6
    assert all(row["number"] <= 0 for row in found if row["front"] and row["accepted_ns"])


def test_pictures_for_each_prompt_share_a_few_names(bringing: Mix) -> None:
    """New content each time, so nothing is cached; as many files as there were prompts at once."""
    found = bringing.of("new")
    assert {row["outcome"] for row in found} == {"success"}
    assert all(row["upload_took_ns"] > 0 and row["upload_bytes"] > 100 for row in found)
    names = {json.loads(row["variation"])["1.image"] for row in found}
    assert all(name.startswith("comfysoak/") for name in names)
    assert len(names) <= 3 < len(found)


def test_a_picture_for_all_is_uploaded_once(bringing: Mix) -> None:
    """By the first prompt that needs it."""
    found = bringing.of("once")
    assert {row["outcome"] for row in found} <= {"success", "cached"}
    assert [row["upload_bytes"] is not None for row in found].count(True) == 1
    assert len({row["variation"] for row in found}) == 1 < len(found)


def test_a_picture_that_cannot_be_uploaded_is_a_failed_prompt(bringing: Mix) -> None:
    """The prompt is not sent, and its row says why."""
    found = bringing.of("big")
    assert {(row["outcome"], row["code"], row["sent_ns"]) for row in found} == {("failed", "UPLOAD_ERROR", None)}
    assert "413" in found[0]["error_message"]
    assert "failed UPLOAD_ERROR" in bringing.said


def test_arrivals_are_tried_again_too(tmp_path: Path) -> None:
    """In open load no user waits for a stage with users before trying again."""
    with simulated() as (url, _):
        quits = Workload(name="quit", graph=SLOW, vary=TAGS, give_up=GiveUp(after_s=(0.1, 0.1), again=1), deadline_s=5)
        arrivals = Arrivals(rate_per_s=Line.level(4), process="constant")
        stages = (Stage(duration_s=1.0, arrivals=arrivals),)
        process, recording = planned_locust(
            tmp_path, Plan(name="again", servers=(url,), workloads=(quits,), stages=stages)
        )
        ended(process)
    attempts = [row["attempt"] for row in rows(recording, "prompts")]
    assert attempts.count(1) == 4
    assert attempts.count(2) >= 2

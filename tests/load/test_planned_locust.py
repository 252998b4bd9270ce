from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from comfysoak_core.comfyui.vary import Range, Vary
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.process.built_in import GRAPH
from tests.load.locusting import ended, planned_locust, rows, told, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")

COLOUR = Vary(inputs={"1.color": Range(0, 0xFFFFFF)})
BROKEN = {**GRAPH, "1": {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 8, "batch_size": 1, "color": 0}}}


def plan_for(*servers: str, **changes: object) -> Plan:
    """Three stages, watchers and two workloads, one of which is to be refused."""
    plan = Plan(
        name="stages",
        seed=11,
        servers=servers,
        sessions=Sessions(watchers=4),
        workloads=(
            Workload(name="picture", graph=GRAPH, vary=COLOUR, deadline_s=20),
            Workload(name="broken", graph=BROKEN, weight=0.2, expected=Outcome.REJECTED, think_s=(0.05, 0.1)),
        ),
        stages=(
            Stage(duration_s=1.2, users=Line.level(1), phase="warmup"),
            Stage(duration_s=1.2, users=Line(start=1, end=4), phase="load"),
            Stage(duration_s=1.2, users=Line(start=4, end=2), phase="cooling"),
        ),
    )
    return plan.model_copy(update=changes)


def test_stages_watchers_and_phases_are_as_planned(simulator: str, tmp_path: Path) -> None:
    """Users ramp, watchers are held beside them, each prompt knows its phase, and none is open at the end."""
    process, recording = planned_locust(tmp_path, plan_for(simulator))
    ended(process)
    phases = [(row["subject"], row["detail"]) for row in rows(recording, "events") if row["kind"] == "phase"]
    assert phases == [
        ("warmup", "stage 1 of 3: 1 user for 1.2 s"),
        ("load", "stage 2 of 3: 1 to 4 users for 1.2 s"),
        ("cooling", "stage 3 of 3: 4 to 2 users for 1.2 s"),
    ]
    prompts = rows(recording, "prompts")
    assert {row["phase"] for row in prompts} == {"warmup", "load", "cooling"}
    outcomes = {name: {row["outcome"] for row in prompts if row["workflow"] == name} for name in ("picture", "broken")}
    assert outcomes == {"picture": {"success"}, "broken": {"rejected"}}
    assert {row["code"] for row in prompts} == {None, "VALIDATION_REJECTED"}
    sessions = rows(recording, "sessions")
    roles = Counter(row["role"] for row in sessions)
    assert roles["watcher"] == 4
    assert 3 <= roles["user"] <= 4
    assert {(row["closed_by"], row["close_code"]) for row in sessions} == {("client", 1000)}
    assert all(row["messages"] > 0 for row in sessions)
    assert max(row["users"] for row in rows(recording, "generator")) <= 4


def test_the_same_seed_sends_the_same_prompts(simulator: str, tmp_path: Path) -> None:
    """Mix and variation follow from the seed, and another seed gives others."""
    plan = plan_for(simulator, sessions=Sessions(), stages=(Stage(duration_s=1.2, users=Line.level(1)),))
    sent = []
    started = [planned_locust(tmp_path, plan.model_copy(update={"seed": seed})) for seed in (11, 11, 12)]
    for process, recording in started:
        ended(process)
        prompts = sorted(rows(recording, "prompts"), key=lambda row: row["scheduled_ns"])
        sent.append([(row["workflow"], row["variation"]) for row in prompts])
    length = min(len(found) for found in sent)
    assert length >= 3
    assert sent[0][:length] == sent[1][:length] != sent[2][:length]


def test_a_server_that_is_killed_and_comes_back_is_loaded_again(own_simulator: object, tmp_path: Path) -> None:
    """Users lose their prompts with the server, wait with growing pauses, and go on when it answers again."""
    with own_simulator("--speed", "1") as (first, server):  # type: ignore[operator]  # a context manager
        port = first.rpartition(":")[2]
        stages = (Stage(duration_s=6, users=Line.level(3)),)
        process, recording = planned_locust(tmp_path, plan_for(first, stages=stages))
        wait_until(lambda: told(recording.layout.journal, "prompts", "outcome") >= 3, "three prompts have ended")
        server.kill()
        server.wait()
        time.sleep(1.0)
        with own_simulator("--port", port):  # type: ignore[operator]  # a context manager
            ended(process)
    sessions = rows(recording, "sessions")
    dropped = [row for row in sessions if row["code"] == "WS_ABNORMAL"]
    assert len(dropped) >= 7  # three users and four watchers
    by_id = {row["id"]: row for row in sessions}
    assert all(row["reopened_as"] in by_id for row in dropped)
    refused = [row for row in sessions if row["closed_by"] == "refused"]
    assert {row["code"] for row in refused} <= {"SERVER_DOWN", "WS_ABNORMAL"}
    assert 7 <= len(refused) <= 7 * 8  # no busy loop
    pictures = [row for row in rows(recording, "prompts") if row["workflow"] == "picture"]
    assert {(row["outcome"], row["code"]) for row in pictures} <= {
        ("success", None),
        ("success", "LOST_TERMINAL"),
        ("lost", "SERVER_DOWN"),
        ("lost", "SERVER_RESTARTED"),
        ("failed", "SERVER_DOWN"),
        ("failed", "SUBMIT_ERROR"),
    }
    last_drop_ns = max(row["closed_ns"] for row in dropped)
    assert any(row["outcome"] == "success" and row["sent_ns"] > last_drop_ns for row in pictures)


def test_too_few_handles_are_said_before_the_start(simulator: str, tmp_path: Path) -> None:
    """A plan with more sockets than this machine may open ends with the limit and the remedy, exit status 2."""
    process, recording = planned_locust(tmp_path, plan_for(simulator, sessions=Sessions(watchers=100_000_000)))
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert "file handles" in said
    assert "ulimit -n" in said
    assert "Traceback" not in said
    assert rows(recording, "prompts") == []

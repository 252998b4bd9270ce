"""A search for capacity, from the scenario to the report."""

from __future__ import annotations

import json
from pathlib import Path

from comfysoak_core.recording.recording import Recording
from comfysoak_core.scenario.stage import TRIAL
from tests.cli.runs import comfysoak, only_run

SCENARIO = """
target: {{embedded: {{servers: 1, costs: {{KSampler: {{seconds: 300ms}}}}}}}}
workload: [{{workflow: {workflow}, deadline: 20s, vary: {{seed: random}}}}]
load:
  - {{users: 1, for: 4s, phase: warmup}}
  - search: {search}
goals: [{goal}]
"""
WORKFLOW = Path(__file__).parents[2] / "scenarios" / "workflows" / "sdxl.json"
USERS = "{users: {from: 1, to: 2}, hold: 3s, hold_most: 3s, discard: 500ms, goals: [prompts.latency.max < 750ms]}"
RATE = "{arrivals: {from: 1/s, to: 8/s}, factor: 8, within: 100%, hold: 3s, discard: 0s, goals: [GOAL]}".replace(
    "GOAL", "prompts.latency.max < 2s"
)


def searched(folder: Path, search: str, goal: str, *more: str) -> tuple[Recording, str]:
    """The recording of a search, and how its goal stood."""
    (folder / "capacity.yaml").write_text(SCENARIO.format(workflow=WORKFLOW, search=search, goal=goal))
    done = comfysoak("run", "capacity.yaml", "--json", *more, cwd=folder)
    (judged,) = json.loads(done.stdout)["goals"]
    return Recording.open(only_run(folder)), judged["standing"]


def test_users_up_to_the_level_that_breaks(tmp_path: Path) -> None:
    """One user holds, two do not, one is held again; the run stands by the level that held."""
    recording, standing = searched(tmp_path, USERS, "capacity.users = 1")
    assert standing == "met"
    trials = recording.table("trials").to_pylist()
    assert [(row["level"], row["again"], row["held"]) for row in trials] == [
        (1.0, False, True),
        (2.0, False, False),
        (1.0, True, True),
    ]
    assert all(row["began_ns"] < row["ended_ns"] < row["judged_ns"] for row in trials)
    phases = {row["phase"] for row in recording.table("prompts").to_pylist()}
    assert phases == {"warmup", f"{TRIAL}1 user", f"{TRIAL}2 users", f"{TRIAL}1 user, again"}
    report = (recording.path / "report.html").read_text()
    assert "The goals held up to 1 user and broke at 2 users." in report


def test_arrivals_over_processes(tmp_path: Path) -> None:
    """Rates are searched for as users are, shared by all load processes; what did not hold misses the goal."""
    recording, standing = searched(tmp_path, RATE, "capacity.per_minute >= 400/min", "--processes", "2")
    assert standing == "missed"
    trials = recording.table("trials").to_pylist()
    assert [(row["level"], row["held"]) for row in trials[:2]] == [(1.0, True), (8.0, False)]
    sent = [row["phase"] for row in recording.table("prompts").to_pylist()]
    assert sent.count(f"{TRIAL}480 prompts a minute") > 2 * sent.count(f"{TRIAL}60 prompts a minute")
    assert len({row["worker"] for row in recording.table("prompts").to_pylist()}) == 2

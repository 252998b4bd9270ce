"""A search for capacity, from the scenario to the report."""

from __future__ import annotations

import json
from pathlib import Path

from comfysoak_core.recording.recording import Recording
from comfysoak_core.scenario.stage import TRIAL
from tests.cli.runs import comfysoak, only_run

SCENARIO = """
target: {{embedded: {{servers: 1, costs: {{KSampler: {{seconds: {seconds}}}}}}}}}
workload: [{{workflow: {workflow}, deadline: 20s, vary: {{seed: random}}}}]
load:
  - {{users: 1, for: 4s, phase: warmup}}
  - {{search: {search}{more}}}
goals: [{goal}]
"""
WORKFLOW = Path(__file__).parents[2] / "scenarios" / "workflows" / "sdxl.json"
WORK = "prompts.failed < 50%"  # what breaks a level is that it has no room for its prompts, on whatever machine
USERS = f"{{users: {{from: 1, to: 2}}, hold: 2s, hold_most: 2s, discard: 500ms, goals: [{WORK}]}}"
RATE = f"{{arrivals: {{from: 4/s, to: 8/s}}, within: 100%, hold: 1s, hold_most: 1s, discard: 0s, goals: [{WORK}]}}"
FEW = ", process: constant, in_flight_most: 6"


def searched(
    folder: Path, search: str, goal: str, *options: str, more: str = "", seconds: float = 0.3
) -> tuple[Recording, str]:
    """The recording of a search, and how its goal stood."""
    (folder / "capacity.yaml").write_text(
        SCENARIO.format(workflow=WORKFLOW, search=search, more=more, seconds=seconds, goal=goal)
    )
    done = comfysoak("run", "capacity.yaml", "--json", *options, cwd=folder)
    (judged,) = json.loads(done.stdout)["goals"]
    return Recording.open(only_run(folder)), judged["standing"]


def test_users_up_to_the_highest_level(tmp_path: Path) -> None:
    """One user holds, two do, and two are held again; the run stands by the level that held."""
    recording, standing = searched(tmp_path, USERS, "capacity.users = 2")
    assert standing == "met"
    trials = recording.table("trials").to_pylist()
    assert [(row["level"], row["again"], row["held"]) for row in trials] == [
        (1.0, False, True),
        (2.0, False, True),
        (2.0, True, True),
    ]
    assert all(row["began_ns"] < row["ended_ns"] < row["judged_ns"] for row in trials)
    phases = {row["phase"] for row in recording.table("prompts").to_pylist()}
    assert phases == {"warmup", f"{TRIAL}1 user", f"{TRIAL}2 users", f"{TRIAL}2 users, again"}
    report = (recording.path / "report.html").read_text()
    assert "The goals held up to 2 users, the highest level asked for." in report


def test_arrivals_over_processes(tmp_path: Path) -> None:
    """Rates are searched for as users are, shared by all processes; a level without room for its prompts breaks."""
    recording, standing = searched(
        tmp_path, RATE, "capacity.per_minute >= 400/min", "--processes", "2", more=FEW, seconds=1
    )
    assert standing == "missed"
    trials = recording.table("trials").to_pylist()
    assert [(row["level"], row["again"], row["held"]) for row in trials] == [
        (4.0, False, True),
        (8.0, False, False),
        (4.0, True, True),
    ]
    assert "could not be sent" in trials[1]["why"]
    sent = [row["phase"] for row in recording.table("prompts").to_pylist()]
    assert sent.count(f"{TRIAL}480 prompts a minute") == 8
    assert {row["worker"] for row in recording.table("prompts").to_pylist()} == {"load-0", "load-1"}

"""A goal with `abort` ends a run that has failed already, and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from comfysoak.goal_watch import GoalWatch
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.scenario.goals import AbortGoal
from tests.cli.runs import comfysoak, only_run

SCENARIO = """
target: {{embedded: {{servers: 1, costs: {{KSampler: {{seconds: 0.02}}}}{faults}}}}}
workload: [{{workflow: {workflow}, deadline: 20s}}]
load: [{{users: 2, for: {lasts}}}]
goals: [{{goal: prompts.failed < 20%, abort: true, after: 2s}}]
"""
WORKFLOW = Path(__file__).parents[2] / "scenarios" / "workflows" / "sdxl.json"
FAULTS = ", faults: [{kind: node-error, node: KSampler, probability: 100%}]"


def test_a_run_that_has_failed_ends_before_its_time(tmp_path: Path) -> None:
    """It is valid, has failed, and says which goal ended it; the rest of its hour is not run."""
    (tmp_path / "s.yaml").write_text(SCENARIO.format(workflow=WORKFLOW, faults=FAULTS, lasts="1h"))
    done = comfysoak("run", "s.yaml", "--json", cwd=tmp_path)
    verdict = json.loads(done.stdout)
    assert done.returncode == verdict["exit_code"] == 1
    assert verdict["valid"]
    assert verdict["ended_how"] == "goal missed"
    ended = Recording.open(only_run(tmp_path)).run.ended
    assert ended is not None
    assert ended.reason is EndReason.GOAL_MISSED
    assert ended.detail.startswith("prompts.failed < 20% (measured ")


def test_a_run_that_goes_well_is_run_to_its_end(tmp_path: Path) -> None:
    """It was looked at on the way, and no goal was missed."""
    (tmp_path / "s.yaml").write_text(SCENARIO.format(workflow=WORKFLOW, faults="", lasts="6s"))
    done = comfysoak("run", "s.yaml", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["ended_how"] == "finished"
    assert (only_run(tmp_path) / "logs" / "goals.log").read_bytes() == b""


@pytest.mark.parametrize("output", ["", "not JSON", "{}"])
def test_a_judgement_that_failed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """What cannot be judged now is asked again later."""
    script = tmp_path / "judge"
    script.write_text(f"#!/bin/sh\nprintf '%s' '{output}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    watch = GoalWatch(tmp_path, [AbortGoal(goal="prompts.failed < 1%", after_s=5.0)], tmp_path / "goals.log")

    def judging() -> subprocess.Popen[str] | None:
        return watch._process

    assert (watch.look(4.0), judging()) == (None, None)
    assert watch.look(5.0) is None
    first = judging()
    assert first is not None
    first.wait()
    assert watch.look(6.0) is None
    assert (watch.look(7.0), judging()) == (None, None)  # the next look is not due
    watch.look(60.0)
    assert judging() is not None
    watch.close()

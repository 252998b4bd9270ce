"""Goals and accepted findings as a scenario writes them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from comfysoak_core.codes import Code
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.goals import AbortGoal
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve

SCENARIO = """
target: {{comfyui: http://gpu-1:8188}}
workload: [{{workflow: w.json, name: sdxl}}]
load: [{{users: 1, for: 10s, phase: warmup}}, {{users: 2, for: 20s, phase: peak}}]
{more}
"""
WORKFLOW = '{"9": {"class_type": "SaveImage", "inputs": {}}}'


def plan_of(folder: Path, more: str) -> Plan:
    """The plan of a scenario with these lines."""
    (folder / "w.json").write_text(WORKFLOW)
    (folder / "s.yaml").write_text(SCENARIO.format(more=more))
    return resolve(*read_scenario(folder / "s.yaml"))


def test_a_goal_may_end_the_run(tmp_path: Path) -> None:
    """`abort` ends the run once the goal is missed for sure, not before `after`; the goal holds as any other."""
    plan = plan_of(tmp_path, "goals: [prompts.count > 1, {goal: prompts.failed < 5%, abort: true, after: 10m}]")
    assert plan.goals == ("prompts.count > 1", "prompts.failed < 5%")
    assert plan.aborts == (AbortGoal(goal="prompts.failed < 5%", after_s=600.0),)


def test_findings_are_accepted_until_a_day(tmp_path: Path) -> None:
    """With the reason and the last day."""
    plan = plan_of(tmp_path, "accept: [{finding: WS_ABNORMAL, reason: TICKET-12, until: 2027-01-31}]")
    (accepted,) = plan.accepted
    assert (accepted.finding, accepted.reason, accepted.until) == (Code.WS_ABNORMAL, "TICKET-12", date(2027, 1, 31))
    assert Plan.model_validate(plan.model_dump(mode="json")) == plan


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('goals: ["prompts.failed{workflow=sdlx} < 1%"]', "did you mean 'sdxl'?"),
        ('goals: ["prompts.failed{phase=peek} < 1%"]', "did you mean 'peak'?"),
        ('goals: ["prompts.failed{server=http://gpu-1:8189} < 1%"]', "did you mean 'http://gpu-1:8188'?"),
        ('goals: ["prompts.failed{server=1} < 1%"]', "there is no server '1'"),
        ("goals: [{goal: prompts.faild < 1%, abort: true}]", "did you mean 'prompts.failed'?"),
        ("accept: [{finding: WS_ABNORMAL, until: 2027-01-31}]", "reason"),
        ("accept: [{finding: WS_ABNORML, reason: known, until: 2027-01-31}]", "accept.0.finding"),
    ],
)
def test_wrong_names_are_refused_at_the_start(tmp_path: Path, more: str, words: str) -> None:
    """A filter that could never match is told before the run, with the nearest right name."""
    with pytest.raises(ScenarioError) as caught:
        plan_of(tmp_path, more)
    assert words in str(caught.value)

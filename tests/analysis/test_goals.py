"""Goals: every measure there is can be computed, and too few prompts are no proof."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import Run, measures, open_run
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_analysis.verdict import GoalResult, Standing
from comfysoak_core.rows import Server
from comfysoak_core.scenario.goals import MEASURES
from tests.analysis.planted import GIB, SERVER, START_NS, plant


def judged(directory: Path, *goals: str, **changes: Any) -> tuple[GoalResult, ...]:
    """How these goals stand on a planted run."""
    run = open_run(plant(directory, goals=goals, **changes))
    return evaluate(run, find_all(run, GpuStates(run)))


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_every_measure_is_a_number_on_a_full_run_and_no_error_on_an_empty_one(
    story: Run, empty: Run, name: str
) -> None:
    """A goal that the scenario accepts is one that analysis can judge; capacity only where it was searched for."""
    findings = find_all(story, GpuStates(story))
    assert name.startswith("capacity.") or not math.isnan(measure(name, Evidence(story, findings)).value)
    nothing = measure(name, Evidence(empty, ()))
    assert math.isfinite(nothing.value) or nothing.nothing


def test_measures_have_the_units_of_the_goal_language(story: Run) -> None:
    """Seconds, shares, bytes and counts, as `MEASURES` says."""
    evidence = Evidence(story, find_all(story, GpuStates(story)))
    whole = measures.whole(story)
    assert measure("prompts.latency.p95", evidence).value == whole.latency.p95
    assert measure("prompts.failed", evidence).value == pytest.approx(2 / whole.judged)
    assert measure("sessions.dropped", evidence).value == 0.5
    assert measure("gpu.memory.max", evidence).value == pytest.approx(0.985 * 8 * GIB, rel=0.01)
    assert measure("failures.OOM", evidence).value == 1
    assert measure("findings.critical", evidence).value == 2


@pytest.mark.parametrize(
    ("canary_ns", "queue_ns"), [(3_000_000_000, 1_000_000), (1_000_000, 3_000_000_000), (None, 3_000_000_000)]
)
def test_the_answer_of_a_server_is_the_slower_of_two(directory: Path, canary_ns: int | None, queue_ns: int) -> None:
    """A blocked loop holds up GET /prompt, which is asked first, a long queue GET /queue; older rows have but one."""
    row = Server(at_ns=START_NS, server=SERVER, canary_answer_ns=canary_ns, queue_answer_ns=queue_ns)
    run = open_run(plant(directory, other_rows=(row,) * 40))
    assert measure("server.answer.p99", Evidence(run, ())).value == pytest.approx(3.0)


def test_no_failure_in_few_prompts_proves_nothing(directory: Path) -> None:
    """37 good prompts are no evidence of less than 1 %; it says how many would be."""
    (goal,) = judged(directory, "prompts.failed < 1%")
    assert goal.standing is Standing.UNDECIDED
    assert goal.reason == "too few prompts to tell: 37 were measured, about 262 more would"


def test_enough_good_prompts_meet_a_goal(calm: Run) -> None:
    """Some 300 without a failure are less than 1.5 %, at the usual risk."""
    run = calm
    count = measures.whole(run).judged
    assert 0.985**count < 0.05  # else this test plants too little
    assert evaluate(run, ())[0].standing is (Standing.MET if 0.99**count < 0.05 else Standing.UNDECIDED)


def test_many_failures_miss_a_goal_even_in_few_prompts(directory: Path) -> None:
    """Four of 37 are not 1 % by chance."""
    (goal,) = judged(directory, "prompts.failed < 1%", node_error_at_s=(20, 25, 30, 35))
    assert (goal.standing, goal.reason) == (Standing.MISSED, "")


def test_a_percentile_is_a_share(directory: Path) -> None:
    """37 prompts are too few for a p95 however fast they were; for a p50 they are not."""
    p95, p50, slow = judged(
        directory, "prompts.latency.p95 < 1h", "prompts.latency.p50 < 1h", "prompts.latency.p50 < 1s"
    )
    assert (p95.standing, p50.standing, slow.standing) == (Standing.UNDECIDED, Standing.MET, Standing.MISSED)


def test_counts_and_maxima_are_compared_as_they_are(directory: Path) -> None:
    """They state what was seen in this run."""
    goals = ("failures.OOM = 1", "failures.OOM = 0", "prompts.per_minute > 10", "gpu.memory.max < 1 GiB")
    standings = [goal.standing for goal in judged(directory, *goals, oom_at_s=(30,))]
    assert standings == [Standing.MET, Standing.MISSED, Standing.MET, Standing.MISSED]


def test_without_a_gpu_a_goal_on_it_is_undecided(directory: Path) -> None:
    """It says why."""
    (goal,) = judged(directory, "gpu.memory.max < 1 GiB", gpu=False)
    assert (goal.standing, goal.value, goal.reason) == (Standing.UNDECIDED, None, "no GPU was watched")


def test_a_goal_of_a_newer_version_is_undecided(directory: Path) -> None:
    """The plan of the recording may know measures that this version does not."""
    (goal,) = judged(directory, "prompts.happiness > 3")
    assert goal.standing is Standing.UNDECIDED
    assert "there is no measure" in goal.reason


def test_without_goals_the_default_ones_hold(story: Run) -> None:
    """Few failures, and nothing critical."""
    assert [goal.text for goal in evaluate(story, ())] == ["prompts.failed < 1%", "findings.critical = 0"]

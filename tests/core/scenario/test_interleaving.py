"""Plans of two servers in turn: blocks, their order, their load, and what cannot be interleaved."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.course import Course
from comfysoak_core.scenario.curve import Curve, Line, Slice, Spike, Steps, Wave
from comfysoak_core.scenario.interleaving import interleaved
from comfysoak_core.scenario.parts import Facts
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Arrivals, ColdStart, Settle, Stage
from comfysoak_core.scenario.workload import Workload

OLD, NEW = "http://old:8188", "http://new:8188"


def plan(*stages: Stage) -> Plan:
    return Plan(name="ab", workloads=(Workload(name="one"),), stages=stages)


def users(lasts_s: float, count: float = 4.0, **more: Any) -> Stage:
    return Stage(duration_s=lasts_s, users=Line.level(count), **more)


def test_a_stage_becomes_pairs_of_blocks_in_turned_order() -> None:
    """Eight blocks a side of equal length, old-new-new-old, after a warm-up of each server."""
    made = interleaved(plan(users(1600)), OLD, NEW)
    assert made.servers == (OLD, NEW)
    assert [stage.phase for stage in made.stages[:7]] == [
        "warmup",
        "warmup",
        "old 1",
        "new 1",
        "new 2",
        "old 2",
        "old 3",
    ]
    assert [stage.block.server for stage in made.stages[:5] if stage.block] == [0, 1, 0, 1, 1]
    assert {stage.duration_s for stage in made.stages} == {100.0}
    assert len(made.stages) == 2 + 16
    assert made.interleaving is not None
    assert made.interleaving.discard_s == pytest.approx(100 / 6)
    assert Plan.model_validate(made.model_dump(mode="json")) == made


def test_long_runs_have_blocks_of_five_minutes_and_short_ones_what_is_asked_for() -> None:
    """More blocks say more; none is longer than it must be."""
    made = interleaved(plan(users(8 * 3600)), OLD, NEW)
    assert made.interleaving is not None
    assert made.interleaving.block_s == 300
    assert len(made.stages) == 2 + 96
    assert len(interleaved(plan(users(120)), OLD, NEW, 5.0).stages) == 2 + 24


def test_warm_ups_are_run_for_each_server_and_stages_are_cut_each_for_itself() -> None:
    """No pair reaches over two stages, and phases keep the names of their stages."""
    made = interleaved(plan(users(60, phase="warmup"), users(400), users(400, 8, phase="peak")), OLD, NEW, 50.0)
    assert [stage.phase for stage in made.stages[:2]] == ["warmup", "warmup"]
    assert [stage.duration_s for stage in made.stages[:3]] == [60, 60, 50]
    assert [stage.phase for stage in made.stages[-2:]] == ["peak: new 8", "peak: old 8"]
    pairs = [stage.block.pair for stage in made.stages if stage.block]
    assert pairs[:4] == [-1, -1, 1, 1]
    assert len(set(pairs)) == 9


@pytest.mark.parametrize(
    "curve",
    [
        Line(start=1, end=9),
        Steps(start=2, end=8, count=4),
        Wave(low=1, high=5, period_s=400),
        Spike(base=1, top=6, every_s=300, lasts_s=40),
    ],
)
def test_blocks_together_are_the_load_of_the_stage(curve: Curve) -> None:
    """A ramp goes on from block to block: levels and arrivals are those of the whole, piece by piece."""
    whole = Stage(duration_s=1600, arrivals=Arrivals(rate_per_s=curve))
    made = [stage for stage in interleaved(plan(whole), OLD, NEW).stages if stage.phase != "warmup"]
    amount = 0.0
    for number, stage in enumerate(made):
        assert stage.arrivals is not None
        rate = stage.arrivals.rate_per_s
        assert isinstance(rate, Slice)
        assert rate.at(30, 100) == pytest.approx(curve.at(number * 100 + 30, 1600))
        assert rate.highest == curve.highest
        amount += rate.amount(100, 100)
        moment = rate.moment(rate.amount(50, 100), 100)
        assert moment is not None
        assert rate.amount(moment, 100) == pytest.approx(rate.amount(50, 100))
    assert amount == pytest.approx(curve.amount(1600, 1600))
    part = Slice(of=curve, from_s=100, whole_s=1600)
    assert part.stretched(2).from_s == 200
    assert part.scaled(2).highest == 2 * curve.highest
    assert "from 100 s on" in str(part)


def test_the_next_block_waits_until_nothing_is_open() -> None:
    """At the end of a block nothing is sent until the last prompt has ended, at most for its deadline."""
    stages = interleaved(plan(users(1600)), OLD, NEW).stages
    course = Course(stages, patience_s=30)
    assert getattr(course.at(Facts(0.0)), "leg", None) is not None
    waiting = course.at(Facts(100.1))
    assert waiting is not None
    assert (waiting.number, waiting.leg, waiting.users) == (0, None, 4)
    still = course.at(Facts(110.0))
    assert still is not None
    assert (still.number, still.leg) == (0, None)
    begun = course.at(Facts(115.0, idle=True))
    assert begun is not None
    assert begun.number == 1
    assert begun.leg is not None
    assert begun.leg.zero_s == 115.0
    patient = course.at(Facts(215.1))
    assert patient is not None
    after = course.at(Facts(246.0))
    assert after is not None
    assert after.number == 2


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (Stage(duration_s=60, cold_start=ColdStart()), "a cold start"),
        (users(600, settle=Settle(every_s=60)), "settles"),
    ],
)
def test_what_cannot_be_cut_is_refused(stage: Stage, words: str) -> None:
    """Cold starts, searches, traces and settles have no halves."""
    with pytest.raises(ScenarioError, match=words):
        interleaved(plan(stage, users(600)), OLD, NEW)


def test_too_few_blocks_and_one_server_twice_are_refused() -> None:
    """The message says how long blocks may be."""
    with pytest.raises(ScenarioError, match="make 2 pairs of 2 min of load") as error:
        interleaved(plan(users(120)), OLD, NEW, 30.0)
    assert "--ab-block 7.5s" in str(error.value)
    with pytest.raises(ScenarioError, match="both sides of --ab"):
        interleaved(plan(users(120)), OLD, OLD)
    with pytest.raises(ScenarioError, match="0 pairs"):
        interleaved(plan(users(120, phase="warmup")), OLD, NEW)

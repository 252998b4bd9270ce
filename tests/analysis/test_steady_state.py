"""From when on a target was warm, and what is left out of figures for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.stage import Stage
from tests.analysis.served import Stretch, served

COLD, WARM = Stretch(60, 4, 2, 2.0), Stretch(540, 4, 3, 1.3)


def measured_share(run: Run) -> float:
    """How much of what was sent is in the figures."""
    return float(run.prompts["measured"].sum() / run.prompts["intended"].sum())


def test_a_warm_up_nobody_declared_is_left_out_and_said(directory: Path) -> None:
    """A slow first minute of ten is in no figure; nothing else is missing."""
    run = open_run(served(directory, [COLD, WARM]))
    assert run.steady_state is not None
    assert run.steady_state.measured_from_ns is not None
    assert (run.steady_state.measured_from_ns - run.steady_state.began_ns) / 1e9 == pytest.approx(60, abs=20)
    assert run.steady_state.words.startswith("It took ")
    assert 0.85 < measured_share(run) < 0.95
    assert float(run.prompts.loc[run.prompts["timed"], "latency_s"].mean()) == pytest.approx(1.3, rel=0.05)


def test_a_declared_warm_up_that_was_too_short_is_said_and_nothing_more_left_out(directory: Path) -> None:
    """Whoever declares one decides what counts."""
    run = open_run(served(directory, [Stretch(30, 4, 2, 2.0, phase="warmup"), COLD, WARM]))
    assert run.steady_state is not None
    assert run.steady_state.words.startswith("The declared warm-up was too short")
    assert run.steady_state.measured_from_ns is None
    load = run.prompts[run.prompts["phase"] == "load"]
    assert bool(load["measured"].all())


def test_a_load_that_is_steady_from_the_start_loses_nothing(directory: Path) -> None:
    """And says so."""
    run = open_run(served(directory, [WARM]))
    assert run.steady_state is not None
    assert run.steady_state.words.startswith("Steady from the start")
    assert measured_share(run) == 1


def test_what_drifts_to_the_end_has_no_steady_state_and_loses_nothing(directory: Path) -> None:
    """Leaving out half of a drift would hide it."""
    run = open_run(served(directory, [Stretch(600, 4, 3, 1.3, until_s=2.0)]))
    assert run.steady_state is not None
    assert not run.steady_state.is_steady
    assert run.steady_state.words.startswith("No steady state")
    assert measured_share(run) == 1


GOOD, SLOW = Stretch(200, 4, 3, 1.3), Stretch(400, 4, 1, 3.0)


@pytest.mark.parametrize(
    ("stretches", "told"),
    [
        ([GOOD, SLOW], True),
        ([GOOD, replace(SLOW, fails=0.4)], False),  # it broke
        ([replace(SLOW, lasts_s=200, fails=0.4), replace(GOOD, lasts_s=400)], False),  # it was mended
    ],
    ids=["slower", "broke", "mended"],
)
def test_failures_are_no_warm_up(directory: Path, stretches: list[Stretch], told: bool) -> None:
    """Left out they would be hidden, or how well it had run before them."""
    run = open_run(served(directory, stretches))
    assert (run.steady_state is not None) == told
    assert (measured_share(run) == 1) != told


def test_a_ramp_has_no_warm_up(directory: Path) -> None:
    """Where the load changes by plan, what changes with it is not looked at."""
    ramp = [Stage(duration_s=600, users=Line(start=1, end=4), phase="load")]
    assert open_run(served(directory, [COLD, WARM], stages=ramp)).steady_state is None


def test_short_and_empty_runs_cannot_tell(directory: Path, empty: Run) -> None:
    """Fewer than 250 prompts are too few, and lose nothing."""
    run = open_run(served(directory, [Stretch(30, 4, 2, 2.0), Stretch(30, 4, 3, 1.3)]))
    assert run.steady_state is None
    assert empty.steady_state is None
    assert measured_share(run) == 1

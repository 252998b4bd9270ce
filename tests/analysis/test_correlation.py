"""What goes with failures, drops and throughput, on recordings in which that is planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.correlation import Kind, Statement, statements, steps
from comfysoak_analysis.gpu_state import GpuStates
from tests.analysis.planted import plant

MOMENTS = (60.0, 110.0, 190.0, 250.0, 330.0, 400.0, 470.0, 520.0, 560.0)


def said(run: Run) -> tuple[Statement, ...]:
    """All statements on a run."""
    return statements(run)


def test_failures_that_follow_full_memory_are_told_with_hits_and_what_chance_makes(directory: Path) -> None:
    """Nine prompts that ran out of memory came with VRAM over 95 %, which it never is otherwise."""
    run = open_run(plant(directory, duration_s=600, workflows=("sketch-sd15",), oom_at_s=MOMENTS))
    found = next(one for one in said(run) if one.kind is Kind.LIFT)
    assert found.about == "failures"
    assert found.words.startswith("9 of 9 failures came while VRAM was over 95 % or within 2 s after; by chance 0.")
    assert found.cases == 9
    assert found.low > 5
    assert found.p <= 0.05
    assert found.confidence >= 0.95


def test_failures_in_the_midst_of_anything_are_told_to_go_with_nothing(directory: Path) -> None:
    """Nodes that raise, and drops, at any moment of a run whose memory swings."""
    run = open_run(plant(directory, duration_s=600, node_error_at_s=MOMENTS, drops_at_s=(40, 90, 300)))
    assert said(run) == ()


def test_a_moment_from_which_work_takes_longer_is_told(directory: Path) -> None:
    """A fifth longer from the sixth minute on, as after a power limit that somebody set."""
    run = open_run(plant(directory, duration_s=600, workflows=("sketch-sd15",), slower_from=(360.0, 0.2)))
    (found,) = steps(run, GpuStates(run))
    assert found.kind is Kind.STEP
    assert found.about.startswith("service time of sketch-sd15 on ")
    assert 1.15 < found.effect < 1.25
    assert found.low < 1.2 < found.high
    told_s = (pd.Timestamp(found.beside.removesuffix(" UTC")) - run.start).total_seconds()
    assert abs(told_s - 360) < 15
    assert "rose to 1.2 times at" in found.words


@pytest.mark.parametrize("changes", [{}, {"slower_at_end": 0.4}, {"slower_from": (300.0, 0.04)}])
def test_a_slow_drift_a_small_step_and_none_are_no_moment(directory: Path, changes: dict[str, Any]) -> None:
    """A drift has a finding of its own; four percent are within what anybody would call the same."""
    run = open_run(plant(directory, duration_s=600, workflows=("sketch-sd15",), **changes))
    assert steps(run, GpuStates(run)) == ()


def test_a_run_in_which_nothing_happens_has_no_statement(calm: Run) -> None:
    """Five minutes of one workflow."""
    assert said(calm) == ()


@pytest.mark.parametrize("changes", [{"prompts_most": 0}, {"prompts_most": 1}, {"gpu": False}, {"duration_s": 6.0}])
def test_bad_input_has_no_statement(directory: Path, changes: dict[str, Any]) -> None:
    """Without prompts, with one, without a GPU, and over before it began."""
    run = open_run(plant(directory, node_error_at_s=(10, 20, 30, 40), **changes))
    assert said(run) == ()

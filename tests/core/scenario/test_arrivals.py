"""Open load: when prompts are due."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.scenario.arrivals import Process, arrival_offsets
from comfysoak_core.scenario.curve import Line

RATES = st.floats(min_value=0, max_value=50)


def offsets(
    duration_s: float,
    low: float,
    high: float,
    process: Process = "constant",
    seed: int = 1,
    part: int = 0,
    parts: int = 1,
) -> list[float]:
    return list(arrival_offsets(duration_s, Line(start=low, end=high), process, Random(seed), part=part, parts=parts))


def test_a_constant_rate_is_evenly_paced() -> None:
    """Two a second for three seconds are six, half a second apart, the first at once."""
    assert offsets(3, 2, 2) == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])


def test_one_an_hour() -> None:
    """Rates far below one a second are kept over hours."""
    assert offsets(3 * 3600, 1 / 3600, 1 / 3600) == pytest.approx([0, 3600, 7200])


def test_a_ramp_has_as_many_as_its_mean_rate() -> None:
    """From nothing to ten a second in ten seconds are fifty, closer and closer together."""
    found = offsets(10, 0, 10)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    assert len(found) == 50
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gaps))
    assert offsets(10, 10, 0)[-1] < 10


def test_no_rate_is_no_arrival() -> None:
    """A stage of rate zero has none."""
    assert offsets(10, 0, 0) == []
    assert offsets(10, 0, 0, "poisson") == []


@given(RATES, RATES, st.integers(1, 5))
def test_processes_share_a_constant_stage(low: float, high: float, parts: int) -> None:
    """However many load processes there are, together they send what one would."""
    whole = offsets(5, low, high)
    dealt = sorted(moment for part in range(parts) for moment in offsets(5, low, high, part=part, parts=parts))
    assert dealt == pytest.approx(whole)


@given(RATES, RATES, st.sampled_from(["constant", "poisson"]), st.integers())
def test_arrivals_rise_and_stay_within_the_stage(low: float, high: float, process: Process, seed: int) -> None:
    """For any ramp the moments rise and none lies outside."""
    found = offsets(5, low, high, process, seed)
    assert all(earlier <= later for earlier, later in pairwise(found))
    assert all(0 <= moment < 5 for moment in found)


def test_a_poisson_process_has_its_rate_and_its_spread() -> None:
    """Gaps have the mean and the standard deviation of an exponential, and counts that of a Poisson distribution."""
    found = offsets(1000, 20, 20, "poisson", seed=7)
    gaps = [later - earlier for earlier, later in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert len(found) == pytest.approx(20_000, abs=5 * math.sqrt(20_000))
    assert deviation == pytest.approx(mean, rel=0.03)


def test_poisson_processes_add_up() -> None:
    """Three processes with a third of the rate each have the whole together."""
    together = sum(len(offsets(1000, 5, 15, "poisson", seed=part, part=part, parts=3)) for part in range(3))
    assert together == pytest.approx(10_000, abs=5 * math.sqrt(10_000))


def test_the_same_seed_is_the_same_load() -> None:
    """A Poisson process with the same seed is the same process."""
    assert offsets(10, 1, 9, "poisson", seed=3) == offsets(10, 1, 9, "poisson", seed=3)
    assert offsets(10, 1, 9, "poisson", seed=3) != offsets(10, 1, 9, "poisson", seed=4)

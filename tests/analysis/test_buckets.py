"""Buckets keep spikes, and gaps stay gaps."""

from __future__ import annotations

import numpy as np
import pytest

from comfysoak_analysis import buckets
from comfysoak_analysis.buckets import MOST, Buckets, Grid, InBuckets, bucketed, counts, places, regrouped


def test_no_more_buckets_than_a_chart_can_show() -> None:
    """From a second to three days."""
    assert all(Grid.over(seconds).count <= MOST for seconds in (0.0, 1.0, 60.0, 3600.0, 86_400.0, 259_200.0, 1e7))


def test_sixty_planted_spikes_are_kept() -> None:
    """Each is the maximum of its bucket, however long the series."""
    seconds = np.arange(0, 72 * 3600, 0.5)
    values = np.sin(seconds / 5000)
    spikes = np.random.default_rng(5).choice(len(seconds), 60, replace=False)
    values[spikes] = 50 + np.arange(60)
    found = bucketed(Grid.over(72 * 3600), seconds, values)
    assert set(50 + np.arange(60)) - set(found.high) <= set(_hidden_by_a_larger_one(found.grid, seconds[spikes]))


def _hidden_by_a_larger_one(grid: Grid, spikes: np.ndarray) -> list[float]:
    """Of two spikes in one bucket only the larger one can be its maximum."""
    index = grid.index(spikes)
    return [50.0 + number for number in range(60) if (index[number + 1 :] == index[number]).any()]


def test_a_late_sample_leaves_no_hole() -> None:
    """A bucket without a sample holds the last one."""
    found = bucketed(Grid(1.0, 5), np.array([0.5, 1.5, 3.5, 4.5]), np.array([1.0, 2.0, 4.0, 5.0]))
    assert found.mean.tolist() == [1, 2, 2, 4, 5]


def test_what_was_before_the_start_is_in_no_bucket() -> None:
    """Probes begin before the load does."""
    found = bucketed(Grid(1.0, 2), np.array([-5.0, 0.5, 1.5]), np.array([9.0, 1.0, 2.0]))
    assert found.high.tolist() == [1, 2]


def test_a_long_gap_stays_a_gap() -> None:
    """Nothing is invented where nothing was read."""
    found = bucketed(Grid(1.0, 8), np.array([0.5, 6.5]), np.array([1.0, 2.0]))
    assert np.isnan(found.mean[1:6]).all()
    assert np.isnan(found.mean[7])


def test_quantiles_of_each_bucket_are_exact() -> None:
    """The same as numpy gives on the raw values."""
    rng = np.random.default_rng(1)
    seconds, values = rng.uniform(0, 10, 500), rng.exponential(1, 500)
    grid = Grid(2.5, 4)
    (p95,) = InBuckets(grid, places(grid, seconds), values).quantiles((0.95,))
    expected = [np.quantile(values[(seconds // 2.5) == bucket], 0.95) for bucket in range(4)]
    assert np.allclose(p95, expected)


def test_counts_add_up() -> None:
    """Every moment is in one bucket, those at the very end too."""
    assert counts(Grid(1.0, 3), np.array([0.0, 0.9, 2.0, 3.0])).tolist() == [2, 0, 2]


def test_regrouped_buckets_keep_their_extremes_and_their_gaps() -> None:
    """Also where the wider steps are no multiple of the finer ones; a short gap is held where that is wanted."""
    fine = bucketed(Grid(0.2, 20), np.arange(0.1, 2, 0.2), np.arange(10.0), hold_s=0)
    found = regrouped(fine, Grid(0.5, 8))
    assert found.low[:4].tolist() == [0, 2, 5, 7]
    assert found.high[:4].tolist() == [1, 4, 6, 9]
    assert found.mean[:4].tolist() == [0.5, 3, 5.5, 8]
    assert np.isnan([found.mean[4:], found.low[4:], found.high[4:]]).all()
    gap = regrouped(bucketed(Grid(1, 6), np.array([0.5, 3.5]), np.array([1.0, 2.0]), hold_s=0), Grid(1, 6), 2)
    assert gap.mean[:4].tolist() == [1, 1, 1, 2]


def test_regrouped_means_are_those_of_the_values() -> None:
    """A bucket with three samples counts three times; one that only shows the last value not at all beside another."""
    values = np.array([1.0, 5.0, 3.0])
    found = regrouped(Buckets(Grid(1.0, 3), values, values, values, np.array([3, 1, 0])), Grid(3.0, 1))
    assert found.mean[0] == pytest.approx(2.0, abs=1e-5)
    alone = regrouped(Buckets(Grid(1.0, 3), values, values, values, np.array([0, 0, 0])), Grid(3.0, 1))
    assert alone.mean[0] == pytest.approx(3.0)


def test_quantiles_of_many_values_are_exact_whatever_piece_they_were_placed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand values in pieces of 64, some unknown and some before the start, against those of each bucket alone."""
    monkeypatch.setattr(buckets, "AT_ONCE", 64)
    drawn = np.random.default_rng(7)
    seconds, values = drawn.uniform(-10, 100, 1000), drawn.lognormal(size=1000)
    values[::17] = np.nan
    grid = Grid(10.0, 10)
    known = ~np.isnan(values) & (seconds >= 0)
    expected = [np.quantile(values[known & (seconds // 10 == place)], (0.5, 0.95)) for place in range(10)]
    part = drawn.integers(-1, 2, 1000).astype(np.int8)
    held = InBuckets(grid, places(grid, seconds), values, part, 2)
    assert np.allclose(np.transpose(held.quantiles((0.5, 0.95))), expected, rtol=0, atol=0)
    mine = [np.quantile(values[known & (part == 1) & (seconds // 10 == place)], 0.95) for place in range(10)]
    (of_part,) = held.quantiles((0.95,), part=1)
    assert np.allclose(of_part, mine, rtol=0, atol=0)
    assert np.isnan(held.quantiles((0.5,), part=0, least=1000)).all()
    assert counts(grid, seconds).tolist() == [int((seconds // 10 == place).sum()) for place in range(10)]

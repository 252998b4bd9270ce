"""Series of any length in at most 2,000 buckets a chart, with the mean and both extremes of each.

A mean alone hides spikes, and so does every scheme that picks single points: minimum and maximum keep them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comfysoak_analysis.statistics.series import Floats

MOST = 2_000
AT_ONCE = 1 << 18  # values put into buckets together, so that their places need no memory to speak of
Places = np.ndarray[Any, np.dtype[Any]]  # integers
_HELD = 1e-6  # what a bucket that only shows the last value weighs beside one that has a value
_NICE_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Grid:
    """`count` buckets of `width_s` seconds each from the start of the run."""

    width_s: float
    count: int

    @classmethod
    def over(cls, duration_s: float, wanted: int = MOST, least_s: float = 0.1) -> Grid:
        """The finest grid of a width people like that has no more than `wanted` buckets."""
        fits = (width for width in _NICE_S if width >= least_s and duration_s / width <= wanted)
        width = next(fits, max(duration_s / wanted, least_s))
        return cls(float(width), max(int(np.ceil(duration_s / width)), 1))

    def wider(self, least_s: float, wanted: int = MOST) -> Grid:
        """Over the same time, in buckets that are multiples of these: of at least `least_s`, at most `wanted`."""
        least_s = max(least_s, self.width_s * self.count / wanted)
        fits = (width for width in _NICE_S if width >= least_s * (1 - 1e-9) and _is_multiple(width, self.width_s))
        width = next(fits, self.width_s * int(np.ceil(least_s / self.width_s)))
        return Grid(float(width), max(-(-self.count // round(width / self.width_s)), 1))

    def index(self, seconds: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The bucket of each moment, in seconds from the start; what lies after the end goes to the last."""
        steps: Floats = seconds / self.width_s
        found: np.ndarray[Any, np.dtype[np.int64]] = np.clip(steps, 0, self.count - 1, out=steps).astype(np.int64)
        return found


def _is_multiple(width: float, of: float) -> bool:
    return abs(width / of - round(width / of)) < 1e-9


@dataclass(frozen=True, slots=True)
class Buckets:
    """Mean, minimum and maximum of each bucket; NaN where nothing was."""

    grid: Grid
    mean: Floats
    low: Floats
    high: Floats
    number: np.ndarray[Any, np.dtype[Any]] = field(default_factory=lambda: np.empty(0, np.uint32))  # of values in each

    def wider(self, least_s: float, wanted: int = MOST, hold_s: float = 0.0) -> Buckets:
        """The same in wider buckets, for a chart: of at least `least_s`, no more than `wanted` of them.

        A bucket that missed its sample by chance holds the last one; a gap longer than `hold_s` stays a gap.
        """
        grid = self.grid.wider(least_s, wanted)
        together = round(grid.width_s / self.grid.width_s)
        edges = np.arange(0, self.grid.count, together)
        number = np.add.reduceat(self.number.astype(np.float64), edges)
        total = np.add.reduceat(np.where(self.number > 0, self.mean, 0.0) * self.number.astype(np.float64), edges)
        low = np.fmin.reduceat(self.low.astype(np.float64), edges)
        high = np.fmax.reduceat(self.high.astype(np.float64), edges)
        mean = np.divide(total, number, out=np.full(len(edges), np.nan), where=number > 0)
        source = _held(number == 0, round(hold_s / grid.width_s))
        return Buckets(grid, mean[source], low[source], high[source], number)


def bucketed(grid: Grid, seconds: Floats, values: Floats, hold_s: float = 2.0) -> Buckets:
    """`values` at `seconds` (both of one length) in the buckets of `grid`, less NaN and what was before the start.

    A bucket that missed its sample by chance holds the last one; a gap longer than `hold_s` stays a gap.
    """
    known = ~np.isnan(values) & (seconds >= 0)
    index, values = grid.index(seconds[known]), values[known]
    count = np.bincount(index, minlength=grid.count)
    total = np.bincount(index, weights=values, minlength=grid.count)
    low, high = np.full(grid.count, np.inf), np.full(grid.count, -np.inf)
    np.minimum.at(low, index, values)
    np.maximum.at(high, index, values)
    empty = count == 0
    mean = np.divide(total, count, out=np.full(grid.count, np.nan), where=~empty)
    source = _held(empty, round(hold_s / grid.width_s))
    low[empty], high[empty] = np.nan, np.nan
    return Buckets(grid, mean[source], low[source], high[source])


def _held(empty: np.ndarray[Any, np.dtype[np.bool_]], most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """For each bucket the one whose values it shows: itself, or the last full one where the gap is at most `most`."""
    own = np.arange(empty.size)
    last = np.maximum.accumulate(np.where(empty, -1, own))
    edges = np.flatnonzero(~empty)
    following = np.searchsorted(edges, own)
    next_full = np.append(edges, empty.size + most + 1)[following]
    short = empty & (last >= 0) & (next_full - last - 1 <= most)
    return np.where(short, last, own)


def regrouped(buckets: Buckets, grid: Grid, hold_s: float = 0.0) -> Buckets:
    """The same values in the wider buckets of `grid`: means weighed by how many values each has, extremes of extremes.

    Where `number` is not told each bucket counts alike; one that is held counts only where no other is. A bucket
    without a value holds the last one over at most `hold_s`; a longer gap stays a gap (NaN).
    """
    known = np.flatnonzero(~np.isnan(buckets.mean))
    index = grid.index((known + 0.5) * buckets.grid.width_s)
    weights = np.maximum(buckets.number[known], _HELD) if buckets.number.size else np.ones(known.size)
    count = np.bincount(index, weights=weights, minlength=grid.count)
    total = np.bincount(index, weights=weights * buckets.mean[known], minlength=grid.count)
    low, high = np.full(grid.count, np.nan), np.full(grid.count, np.nan)
    firsts = np.flatnonzero(np.diff(index, prepend=-1))  # they come in order: a tenth of the time of ufunc.at
    if firsts.size:
        low[index[firsts]] = np.minimum.reduceat(buckets.low[known], firsts)
        high[index[firsts]] = np.maximum.reduceat(buckets.high[known], firsts)
    empty = count == 0
    mean = np.divide(total, count, out=np.full(grid.count, np.nan), where=~empty)
    source = _held(empty, round(hold_s / grid.width_s))
    return Buckets(grid, mean[source], low[source], high[source])


def counts(grid: Grid, seconds: Floats) -> Floats:
    """How many moments fall into each bucket."""
    found = np.zeros(grid.count)
    for first in range(0, len(seconds), AT_ONCE):
        piece = seconds[first : first + AT_ONCE]
        found += np.bincount(grid.index(piece[piece >= 0]), minlength=grid.count)
    return found


def places(grid: Grid, seconds: Floats) -> Places:
    """The bucket of each moment; -1 for NaN and what was before the start."""
    found: Places = np.empty(len(seconds), np.int16 if grid.count < 2**15 else np.int64)
    for first in range(0, len(seconds), AT_ONCE):
        piece = seconds[first : first + AT_ONCE]
        found[first : first + AT_ONCE] = np.where(piece >= 0, grid.index(np.nan_to_num(piece)), -1)
    return found


class InBuckets:
    """Values put in the order of their buckets, once for all that is asked of them: of all, and of parts of them."""

    def __init__(self, grid: Grid, where: Places, values: Floats, part: Places | None = None, parts: int = 1) -> None:
        """`where`: see `places`; `part`: which of how many `parts` each value is of, one byte; -1: of none.

        NaN is left out.
        """
        self._grid, self._parts = grid, parts + 1
        cells = grid.count * self._parts
        pieces = [slice(first, first + AT_ONCE) for first in range(0, len(values), AT_ONCE)]
        cell: Places = np.empty(len(values), np.int16 if cells < 2**15 else np.int64)
        number = np.zeros(cells, np.int64)
        for piece in pieces:
            of = where[piece].astype(np.int64) * self._parts + (1 if part is None else part[piece] + 1)
            cell[piece] = np.where((where[piece] < 0) | np.isnan(values[piece]), -1, of)
            number += np.bincount(cell[piece] + 1, minlength=cells + 1)[1:]
        self._edges = np.concatenate([[0], np.cumsum(number)])
        self._values: Floats = np.empty(self._edges[-1], values.dtype)
        filled = self._edges[:-1].copy()
        for piece in pieces:
            filled += self._put(cell[piece], values[piece], filled)

    def _put(self, cell: Places, values: Floats, filled: Places) -> Places:
        """More values behind those that are `filled` in; tells how many they are by cell."""
        order = np.argsort(cell, kind="stable")
        order = order[np.searchsorted(cell, 0, sorter=order) :]
        own = cell[order]
        number = np.bincount(own, minlength=len(filled))
        self._values[(filled - np.cumsum(number) + number)[own] + np.arange(len(own))] = values[order]
        return number

    def quantiles(self, shares: tuple[float, ...], part: int | None = None, least: int = 1) -> tuple[Floats, ...]:
        """The exact quantiles of each bucket, of all or of one part; NaN where there are fewer than `least` values."""
        found = np.full((len(shares), self._grid.count), np.nan)
        for bucket in range(self._grid.count):
            cell = bucket * self._parts + (0 if part is None else part + 1)
            first, last = self._edges[[cell, cell + (self._parts if part is None else 1)]]
            if last - first >= least:
                found[:, bucket] = np.quantile(self._values[first:last], shares)
        return tuple(found)

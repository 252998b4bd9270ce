"""What the tests of series share: fewer points, and how long a series remembers.

Points of a recording are not independent: memory saws, queues fill and drain. A test that counts them as if they were
finds something in every other clean run; so each test here asks first how many independent points there are.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]  # tracks are of four bytes, what is reckoned from them of eight
Flags = np.ndarray[Any, np.dtype[np.bool_]]
MOST_POINTS = 500
NORMAL_95 = 1.959964  # 95 % of a normal lie within so many standard deviations
FEWEST_INDEPENDENT = 20  # a run is taken for at least so many cases, or one that stands in its queue could tell nothing
_GROUPS = 150  # of neighbours: servers that take prompts in turn hide in single ones that each has a queue
_SHORTENED = 4.0  # a short series, its mean and slope taken off, seems to forget sooner than it does


def known(seconds: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Both without the points at which either is not finite, in order of time."""
    seconds, values = np.asarray(seconds, dtype=float), np.asarray(values, dtype=float)
    finite = np.isfinite(seconds) & np.isfinite(values)
    seconds, values = seconds[finite], values[finite]
    order = np.argsort(seconds, kind="stable")
    return seconds[order], values[order]


def numbered(labels: Iterable[Hashable]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A number for each label, from 0 on in the order in which they first come."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def thinned(values: Floats, most: int = MOST_POINTS) -> Floats:
    """Means of as many neighbours each as leave at most `most`; the last may be of fewer."""
    group = -(-values.size // most)
    if group <= 1:
        return values
    starts = np.arange(0, values.size, group)
    sums: Floats = np.add.reduceat(values, starts)
    return sums / np.diff(np.append(starts, values.size))


def memory_of(residuals: Floats) -> float:
    """How many neighbours count as one independent point, 1 or more: the sum of autocorrelations to the first not > 0.

    Later ones are left out: those of a sawtooth swing below 0 and would cancel what counts against a trend.
    """
    centred = residuals - residuals.mean()
    size = centred.size
    spread = float(centred @ centred)
    if spread <= 0 or size < 3:  # two points have no autocorrelation
        return 1.0
    spectrum = np.fft.rfft(centred, 2 * size)
    correlations = np.fft.irfft(spectrum * spectrum.conj(), 2 * size)[1:size] / spread
    ends = np.flatnonzero(correlations <= 0)
    until = int(ends[0]) if ends.size else size - 1
    found = 1.0 + 2.0 * float(correlations[:until].sum())
    return float(found * (1 + _SHORTENED * (found - 1) / size))


def cases_alike(flags: Flags) -> float:
    """How many cases, in order of time, count as one independent one (1 or more): the design effect of their share.

    Prompts that wait in one queue are slow together; a binomial that takes them for independent calls a p95 at its
    limit missed in up to a third of all runs. Never so many that fewer than 20 independent ones would be left. Of cases
    that are all alike nothing is known, and each counts.
    """
    size, share = flags.size, float(flags.mean()) if flags.size else 0.0
    if size <= FEWEST_INDEPENDENT or not 0 < share < 1:
        return 1.0
    group = -(-size // _GROUPS)
    whole = flags[: size // group * group].reshape(-1, group).mean(axis=1)
    scattered = max(float(whole.var()) * group / (share * (1 - share)), 1.0)
    return float(min(scattered * memory_of(whole), size / FEWEST_INDEPENDENT))

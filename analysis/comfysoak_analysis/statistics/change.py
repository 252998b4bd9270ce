"""When did it change? The largest excursion of the cumulated sum, held against series that remember as long."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats, known, memory_of, thinned

FEWEST_POINTS = 20
_LEVELLED = 8.0  # a series less the step that fits it best seems to forget sooner than it does
_SURELY_NONE = 0.2  # below, p is 1, and Kolmogorov's series takes very many terms
_TERMS = 20  # of Kolmogorov's series: more change nothing


@dataclass(frozen=True, slots=True)
class Change:
    """The likeliest moment of a step in the mean, the means before and after it, and how likely chance makes one."""

    at_s: float
    before: float
    after: float
    p: float


def change(seconds: Floats, values: Floats) -> Change | None:
    """The one step that explains most of `values` (means of even buckets); None with fewer than 20, or all equal.

    `p` is Kolmogorov's, of the cumulated sum in units of what as many points that remember as long add up to. Blocks of
    the series in random order, the other way to do it, found fewer steps and told more of nothing.
    No p is less than that of these very points in any order: the last of 20 alone, however far off, has 0.1.
    """
    seconds, values = known(seconds, values)
    if values.size < FEWEST_POINTS or np.ptp(values) == 0:
        return None
    seconds, values = thinned(seconds), thinned(values)
    at, largest = _excursion(values - values.mean())
    before, after = values[:at], values[at:]
    levelled = np.concatenate((before - before.mean(), after - after.mean()))
    p = max(_p(largest, levelled), min(2 / math.comb(values.size, at), 1.0))
    return Change(float(seconds[at]), float(before.mean()), float(after.mean()), p)


def _excursion(centred: Floats) -> tuple[int, float]:
    """Where the sum is farthest from 0, as the first point after the step, and how far."""
    sums = np.abs(np.cumsum(centred)[:-1])
    at = int(np.argmax(sums))
    return at + 1, float(sums[at])


def _p(largest: float, levelled: Floats) -> float:
    """How likely sums of points like these, without a step, come as far."""
    size, memory = levelled.size, memory_of(levelled)
    spread = math.sqrt(size * float(levelled.var()) * memory * (1 + _LEVELLED * memory / size))
    if spread <= 0:
        return 0.0
    score = largest / spread
    terms = (2 * (-1) ** (term - 1) * math.exp(-2 * (term * score) ** 2) for term in range(1, _TERMS + 1))
    return float(min(max(sum(terms), 0.0), 1.0)) if score > _SURELY_NONE else 1.0

"""How sure is a rate, or a percentile? Exact intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`; infinite where the data bounds it on one side only."""

    low: float
    high: float


def rate_interval(count: int, exposure: float, confidence: float = 0.95) -> Interval:
    """The rate of a Poisson process that showed `count` events in `exposure` (hours, ...; > 0), two-sided (Garwood)."""
    from scipy.special import gammaincinv  # a tenth of a second to import, and not every page needs it

    beyond = (1 - confidence) / 2
    low = float(gammaincinv(count, beyond)) if count else 0.0
    return Interval(low / exposure, float(gammaincinv(count + 1, 1 - beyond)) / exposure)


def rate_at_most(exposure: float, confidence: float = 0.95) -> float:
    """The most that no event in `exposure` (> 0) leaves likely, one-sided: nothing in 576 h shows one in 192 h."""
    return -math.log1p(-confidence) / exposure


def quantile_interval(values: Floats, share: float, confidence: float = 0.95) -> Interval:
    """The interval of the `share` quantile (0 to 1) of which `values` are independent draws, NaN left out.

    By order statistics, so no shape is assumed. Of too few values to bound one side, that side is infinite; of none
    both are.
    """
    from scipy.special import bdtr  # as above

    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    size, beyond = values.size, (1 - confidence) / 2
    reach = math.sqrt(size * share * (1 - share)) * 8 + 2  # beyond 8 standard deviations nothing is decided
    first, last = max(math.floor(size * share - reach), 0), min(math.ceil(size * share + reach), size)
    ranks = np.arange(first, last + 1)
    below = bdtr(ranks, size, share) if size else np.array([])  # P(at most `rank` values lie below the quantile)
    low = int(ranks[below <= beyond][-1]) if (below <= beyond).any() else -1
    high = int(ranks[below >= 1 - beyond][0]) + 1 if (below >= 1 - beyond).any() else size + 1
    return Interval(_nth(values, low) if low >= 0 else -math.inf, _nth(values, high - 1) if high <= size else math.inf)


def _nth(values: Floats, rank: int) -> float:
    """The value at `rank`, counted from 0, in order of size."""
    return float(np.partition(values, rank)[rank])

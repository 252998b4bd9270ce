"""How sure is a rate? Exact intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`."""

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

"""When prompts are due in open load: a pure function of the rate, its ramp, the process and a random generator.

Up to t one expects N(t) = r0 t + (r1 - r0) t^2 / 2T arrivals. Arrivals evenly spaced in N are evenly paced
however the rate ramps; arrivals whose distances in N are exponential with mean 1 are a Poisson process of that rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Literal

Process = Literal["constant", "poisson"]


def arrival_offsets(
    duration_s: float,
    rate_from_per_s: float,
    rate_to_per_s: float,
    process: Process,
    numbers: Random,
    *,
    part: int = 0,
    parts: int = 1,
) -> Iterator[float]:
    """Seconds since the stage began at which prompts are due, rising, all below `duration_s`.

    `part` of `parts` is one load process among several: together they make the arrivals of the whole stage. Constant
    arrivals are dealt out in turn; of a Poisson process each gets one of its own with its share of the rate.
    """
    expected = float(part) if process == "constant" else parts * numbers.expovariate(1.0)
    while True:
        offset_s = _moment(expected, duration_s, rate_from_per_s, rate_to_per_s)
        if offset_s is None:
            return
        yield offset_s
        expected += parts if process == "constant" else parts * numbers.expovariate(1.0)


def _moment(expected: float, duration_s: float, rate_from: float, rate_to: float) -> float | None:
    """The t at which N(t) = `expected`; None when the stage is over before."""
    slope = (rate_to - rate_from) / duration_s
    root = rate_from * rate_from + 2 * slope * expected
    if root < 0 or rate_from + math.sqrt(root) == 0:
        return None if expected > 0 or rate_from == rate_to else 0.0
    offset_s = 2 * expected / (rate_from + math.sqrt(root))
    return offset_s if offset_s < duration_s else None

"""When prompts are due in open load: a pure function of the rate over time, the process and a random generator.

Up to t one expects N(t) arrivals, the integral of the rate. Arrivals evenly spaced in N are evenly paced
however the rate moves; arrivals whose distances in N are exponential with mean 1 are a Poisson process of that rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from comfysoak_core.scenario.curve import Curve

Process = Literal["constant", "poisson"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One prompt that is due `offset_s` after its stage began.

    A trace may say which workflow it is (None: drawn from the mix), and with which inputs (`3.seed` -> value; None: as
    the workflow varies).
    """

    offset_s: float
    workflow: str | None = None
    inputs: Mapping[str, Any] | None = None


def arrival_offsets(
    duration_s: float,
    rate_per_s: Curve,
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
        offset_s = rate_per_s.moment(expected, duration_s)
        if offset_s is None:
            return
        yield offset_s
        expected += parts if process == "constant" else parts * numbers.expovariate(1.0)

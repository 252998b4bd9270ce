"""Times that were measured, and draws from them: whole blocks, so that slow stretches stay slow stretches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from comfysoak_analysis.statistics.series import Floats

Places = np.ndarray[Any, np.dtype[np.int64]]

_NO_MEMORY = 0.1  # an autocorrelation below this is none
_FEWEST_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Times:
    """Prompts in the order in which a server ran them, shape (n,): how long each ran, and what its user waited beside.

    `around_s` is all of a latency that is neither queue nor execution: sending, and hearing of the end.
    """

    service_s: Floats
    around_s: Floats

    def __len__(self) -> int:
        return len(self.service_s)

    @property
    def block(self) -> int:
        """So many prompts are drawn together."""
        return block_length(self.service_s)

    def at(self, places: Places) -> Times:
        """Those at these places."""
        return Times(self.service_s[places], self.around_s[places])

    def times(self, factor: float) -> Times:
        """The same, each execution `factor` times as long."""
        return Times(self.service_s * factor, self.around_s)

    def longer(self, seconds: float) -> Times:
        """The same, each execution longer by so much (shorter: never below nothing)."""
        return Times(np.maximum(self.service_s + seconds, 0.0), self.around_s)


NO_TIMES = Times(np.zeros(0), np.zeros(0))


def joined(parts: list[Times]) -> Times:
    """One after the other."""
    if not parts:
        return NO_TIMES
    return Times(np.concatenate([part.service_s for part in parts]), np.concatenate([part.around_s for part in parts]))


def block_length(values: Floats) -> int:
    """Twice the integrated autocorrelation time, at least the cube root of their number, at most a quarter of them."""
    count = len(values)
    least = max(math.ceil(math.cbrt(count)), 1)
    most = max(count // _FEWEST_BLOCKS, 1)
    return min(max(least, math.ceil(2 * _correlation_time(values))), most)


def _correlation_time(values: Floats) -> float:
    """1 + 2 times the sum of autocorrelations up to the first that is none."""
    centred = values - values.mean() if len(values) else values
    power = float(centred @ centred)
    if power <= 0:
        return 1.0
    total = 1.0
    for lag in range(1, len(values) // _FEWEST_BLOCKS):
        correlation = float(centred[:-lag] @ centred[lag:]) / power
        if correlation < _NO_MEMORY:
            break
        total += 2 * correlation
    return total


def drawn(count: int, of: int, block: int, numbers: np.random.Generator) -> Places:
    """`count` places among `of`, in blocks that follow each other by chance; the last goes on with the first."""
    starts = numbers.integers(0, of, -(-count // block))
    places: Places = ((starts[:, None] + np.arange(block)) % of).ravel()[:count]
    return places

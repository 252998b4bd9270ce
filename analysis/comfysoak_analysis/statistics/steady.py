"""When is it warm? MSER-5: cut at the start what makes the mean of the rest least sure (White, 1997)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats, known, memory_of
from comfysoak_analysis.statistics.trend import trend

BATCH = 5
FEWEST_BATCHES = 10
LEAST_DIFFERENCE = 0.05  # of the later mean: less is no warm-up worth leaving out
DRIFTS_AT_P = 0.01
LEAST_ERRORS = 4.0  # standard errors of the later mean; of 3 a twelfth of clean short runs are cut


@dataclass(frozen=True, slots=True)
class Steady:
    """From `from_s` on it is steady; `is_steady` False: it drifts to the end, and `from_s` is the least bad cut."""

    from_s: float
    is_steady: bool


def steady_from(seconds: Floats, values: Floats) -> Steady | None:
    """The end of the warm-up of `values` (means of even buckets); None with fewer than 50.

    A cut is only made where what it leaves out differs from the rest by over 5 % and by over 4 standard errors: MSER
    alone cuts something off of every second series of noise.
    """
    seconds, values = known(seconds, values)
    count = values.size // BATCH
    if count < FEWEST_BATCHES:
        return None
    batches = values[: count * BATCH].reshape(count, BATCH).mean(axis=1)
    cut = _cut(batches)
    if _drifts(batches[cut:]):
        return Steady(float(seconds[cut * BATCH]), is_steady=False)
    return Steady(float(seconds[cut * BATCH if cut and _differs(batches, cut) else 0]), is_steady=True)


def _cut(batches: Floats) -> int:
    """How many batches to leave out, at most half of them."""
    later = batches[::-1]
    counts = np.arange(1, later.size + 1)
    sums, squares = np.cumsum(later), np.cumsum(later**2)
    unsure = ((squares - sums**2 / counts) / counts**2)[::-1]
    return int(np.argmin(np.maximum(unsure[: batches.size // 2], 0.0)))


def _differs(batches: Floats, cut: int) -> bool:
    early, later = batches[:cut], batches[cut:]
    error = float(later.std()) * np.sqrt(memory_of(later) * (1 / cut + 1 / later.size))
    apart = abs(float(early.mean() - later.mean()))
    return apart > LEAST_ERRORS * error and apart > LEAST_DIFFERENCE * abs(float(later.mean()))


def _drifts(rest: Floats) -> bool:
    """Whether what the cut leaves still moves, by over 5 % from end to end."""
    found = trend(np.arange(rest.size, dtype=float), rest)
    if found is None or found.p > DRIFTS_AT_P:
        return False
    return abs(found.slope_per_s) * rest.size > LEAST_DIFFERENCE * abs(float(rest.mean()))

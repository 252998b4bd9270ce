"""When did it change? The largest excursion of the cumulated sum, held against blocks of the same series shuffled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats, known, memory_of, thinned

FEWEST_POINTS = 20
SHUFFLES = 999
_FEWEST_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Change:
    """The likeliest moment of a step in the mean, the means before and after it, and how likely chance makes one."""

    at_s: float
    before: float
    after: float
    p: float


def change(seconds: Floats, values: Floats, *, seed: int = 1) -> Change | None:
    """The one step that explains most of `values` (means of even buckets); None with fewer than 20, or all equal.

    Blocks are longer than the series remembers; of a series of fewer than 8 of them nothing can be told: p is 1.
    """
    seconds, values = known(seconds, values)
    if values.size < FEWEST_POINTS or np.ptp(values) == 0:
        return None
    seconds, values = thinned(seconds), thinned(values)
    at, largest = _excursion(values - values.mean())
    before, after = values[:at], values[at:]
    levelled = np.concatenate((before - before.mean(), after - after.mean()))
    block = int(np.ceil(4 * memory_of(levelled)))
    p = _p(values - values.mean(), largest, block, seed)
    return Change(float(seconds[at]), float(before.mean()), float(after.mean()), p)


def _excursion(centred: Floats) -> tuple[int, float]:
    """Where the sum is farthest from 0, as the first point after the step, and how far."""
    sums = np.abs(np.cumsum(centred)[:-1])
    at = int(np.argmax(sums))
    return at + 1, float(sums[at])


def _p(centred: Floats, largest: float, block: int, seed: int) -> float:
    """Share of shuffles whose excursion is as large."""
    blocks = centred.size // block
    if blocks < _FEWEST_BLOCKS:
        return 1.0
    drawn = np.random.default_rng(seed)
    offset = (centred.size - blocks * block) // 2
    parts = centred[offset : offset + blocks * block].reshape(blocks, block)
    parts = parts - parts.mean()
    orders = np.argsort(drawn.random((SHUFFLES, blocks)), axis=1)
    shuffled = parts[orders].reshape(SHUFFLES, -1)
    excursions = np.abs(np.cumsum(shuffled, axis=1)[:, :-1]).max(axis=1)
    return float(1 + np.count_nonzero(excursions >= largest)) / (1 + SHUFFLES)

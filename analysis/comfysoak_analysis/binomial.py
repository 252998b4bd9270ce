"""How much a share seen in n cases says about the share behind them: exact binomial tails, no approximation.

A goal on a share is met when the data would be unlikely (5 %) if the true share were at the limit or worse, and
missed when they would be unlikely if it were at the limit or better. In between nobody can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

UNLIKELY = 0.05
_MOST_CASES = 10_000_000


class Side(StrEnum):
    """On which side of a limit the true share is."""

    BELOW = "below"
    ABOVE = "above"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """The side, and how many more cases at the same share would tell it (None: no number we could name)."""

    side: Side
    more_cases: int | None = None


def at_most(hits: int, cases: int, share: float) -> float:
    """The probability of `hits` or fewer in `cases` when each hits with probability `share`."""
    if hits < 0:
        return 0.0
    if hits >= cases or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    index = np.arange(1, hits + 1, dtype=np.float64)
    steps = np.log(cases - index + 1) - np.log(index) + math.log(share) - math.log1p(-share)
    logs = cases * math.log1p(-share) + np.concatenate(([0.0], np.cumsum(steps)))
    top = float(logs.max())
    return min(math.exp(top) * float(np.exp(logs - top).sum()), 1.0)


def at_least(hits: int, cases: int, share: float) -> float:
    """The probability of `hits` or more in `cases`: of as few misses, which keeps small tails exact."""
    return at_most(cases - hits, cases, 1 - share)


def side_of(hits: int, cases: int, limit: float, unlikely: float = UNLIKELY) -> Answer:
    """Whether the share behind `hits` of `cases` is below or above `limit`."""
    side = _side(hits, cases, limit, unlikely)
    return Answer(side, _more(hits, cases, limit) if side is Side.UNKNOWN else None)


def _side(hits: int, cases: int, limit: float, unlikely: float = UNLIKELY) -> Side:
    if cases <= 0:
        return Side.UNKNOWN
    if limit <= 0:
        return Side.ABOVE if hits else Side.BELOW
    if limit >= 1:
        return Side.BELOW
    if at_most(hits, cases, limit) <= unlikely:
        return Side.BELOW
    return Side.ABOVE if at_least(hits, cases, limit) <= unlikely else Side.UNKNOWN


def _more(hits: int, cases: int, limit: float) -> int | None:
    """The fewest further cases after which the same share would be told apart from the limit."""
    share = hits / cases if cases else 0.0
    if math.isclose(share, limit, rel_tol=0.02):
        return None
    low, high = max(cases, 1), max(cases, 1)
    while _side(round(share * high), high, limit) is Side.UNKNOWN:
        low, high = high, high * 2
        if high > _MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _side(round(share * middle), middle, limit) is Side.UNKNOWN:
            low = middle
        else:
            high = middle
    return high - cases

"""How much a share seen in n cases says about the share behind them: exact binomial tails.

A goal on a share is met when the data would be unlikely (5 %) if the true share were at the limit or worse, and
missed when they would be unlikely if it were at the limit or better. In between nobody can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

UNLIKELY = 0.05
_MOST_CASES = 10_000_000


class Side(StrEnum):
    """On which side of a limit the true share is."""

    BELOW = "below"
    ABOVE = "above"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """The side, and how many more cases at the same share would tell it (None: no number we could name).

    `independent`: what the cases count for.
    """

    side: Side
    more_cases: int | None = None
    independent: float = math.nan


def at_most(hits: float, cases: float, share: float) -> float:
    """The probability of `hits` or fewer in `cases` when each hits with probability `share`.

    Parts of cases are allowed (Korn and Graubard, 1998): where neighbours are alike, there are fewer cases than rows.
    """
    from scipy.special import betainc  # a tenth of a second to import

    if hits < 0:
        return 0.0
    if hits >= cases or share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    return float(betainc(cases - hits, hits + 1, 1 - share))


def at_least(hits: float, cases: float, share: float) -> float:
    """The probability of `hits` or more in `cases`: of as few misses, which keeps small tails exact."""
    return at_most(cases - hits, cases, 1 - share)


def side_of(hits: int, cases: int, limit: float, unlikely: float = UNLIKELY, alike: float = 1.0) -> Answer:
    """Whether the share behind `hits` of `cases` is below or above `limit`; so many cases `alike` count as one."""
    side = _side(hits, cases, limit, unlikely, alike)
    more = _more(hits, cases, limit, alike) if side is Side.UNKNOWN else None
    return Answer(side, more, cases / alike)


def _side(hits: int, cases: int, limit: float, unlikely: float = UNLIKELY, alike: float = 1.0) -> Side:
    if cases <= 0:
        return Side.UNKNOWN
    if limit <= 0:
        return Side.ABOVE if hits else Side.BELOW
    if limit >= 1:
        return Side.BELOW
    if at_most(hits / alike, cases / alike, limit) <= unlikely:
        return Side.BELOW
    return Side.ABOVE if at_least(hits / alike, cases / alike, limit) <= unlikely else Side.UNKNOWN


def _more(hits: int, cases: int, limit: float, alike: float) -> int | None:
    """The fewest further cases after which the same share would be told apart from the limit."""
    share = hits / cases if cases else 0.0
    if math.isclose(share, limit, rel_tol=0.02):
        return None
    low = high = max(cases, 1)
    while _side(round(share * high), high, limit, alike=alike) is Side.UNKNOWN:
        low, high = high, high * 2
        if high > _MOST_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if _side(round(share * middle), middle, limit, alike=alike) is Side.UNKNOWN:
            low = middle
        else:
            high = middle
    return high - cases

"""Is one side worse? Exact tests over whole runs (or over pairs of blocks), effects with intervals, limits of a chart.

A run is one case. Prompts within a run share its fortune (clocks, caches, neighbours), and a test over prompts takes
that for a difference: two single runs of the same server differ "for certain" in 45 to 51 % of all cases.

    rank_test, ratio, difference        two independent sides (Mann-Whitney; Hodges-Lehmann with its exact interval)
    paired_test, paired_ratio, ...      pairs (Wilcoxon's signed ranks; Walsh averages with their exact interval)
    holm                                several questions at once
    control                             one new value against a history: Student's prediction limits

What they gave where the truth is known: docs/analysis.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comfysoak_analysis.statistics.series import Floats

CONFIDENCE = 0.95
FAR = 5.0  # robust standard deviations: what lies so far from the others does not say how they spread
_EXACT_MOST = 60  # values in all; beyond that the normal approximation is within 0.001

Values = Sequence[float] | Floats


@dataclass(frozen=True, slots=True)
class Ratio:
    """Second over first. `confidence` is what the interval holds: less than 0.95 where so few values give no more."""

    ratio: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Second less first, likewise."""

    difference: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Control:
    """Where new values stand against a history. `p_above`: so far up or farther by chance; limits are those of `p`.

    `left_out` are the places of values in the history that lie too far from the others to say how they spread.
    """

    centre: float
    low: float
    high: float
    new: float  # the mean of the new values
    p_above: float
    p_below: float
    left_out: tuple[int, ...]


def rank_test(first: Values, second: Values, *, greater: bool = False) -> float:
    """The chance of ranks as far apart as these, or farther, when both sides are alike; `greater`: `second` above.

    Exact, ties included, up to 60 values. 1 where a side has none.
    """
    values = np.asarray([*first, *second], dtype=float)
    if not len(first) or not len(second):
        return 1.0
    doubled = np.rint(2 * _midranks(values)).astype(np.int64)
    seen = int(doubled[len(first) :].sum())
    if values.size > _EXACT_MOST:
        return _by_normal(seen, len(second) * float(doubled.mean()), _spread_of_sum(doubled, len(second)), greater)
    chances = _sums(doubled, len(second))
    return _tail(chances, seen, len(second) * float(doubled.mean()), greater)


def ratio(first: Values, second: Values) -> Ratio:
    """By how much `second` is larger, in the middle, as a factor. All values are above zero."""
    found = difference(np.log(np.asarray(first, dtype=float)), np.log(np.asarray(second, dtype=float)))
    return _as_ratio(found)


def difference(first: Values, second: Values) -> Difference:
    """By how much `second` is larger, in the middle. ValueError where a side is empty."""
    if not len(first) or not len(second):
        raise ValueError("expected values on both sides")
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    every = np.sort(np.subtract.outer(b, a).ravel())
    if a.size + b.size > _EXACT_MOST:
        spread = math.sqrt(a.size * b.size * (a.size + b.size + 1) / 12)
        return _interval(every, _depth_by_normal(every.size, spread), CONFIDENCE)
    chances = _sums(np.arange(1, a.size + b.size + 1), b.size)
    return _interval(every, *_depth(np.cumsum(chances[b.size * (b.size + 1) // 2 :])))


def paired_test(differences: Values, *, greater: bool = False) -> float:
    """The chance of pairs that lean as far to one side, or farther; `greater`: up.

    Pairs without a difference say nothing. Exact up to 60 pairs; 1 where there is none.
    """
    known = np.asarray([one for one in differences if one != 0], dtype=float)
    if not known.size:
        return 1.0
    doubled = np.rint(2 * _midranks(np.abs(known))).astype(np.int64)
    seen, middle = int(doubled[known > 0].sum()), float(doubled.sum()) / 2
    if known.size > _EXACT_MOST:
        return _by_normal(seen, middle, math.sqrt(float((doubled.astype(float) ** 2).sum()) / 4), greater)
    return _tail(_signed_sums(doubled), seen, middle, greater)


def paired_ratio(first: Values, second: Values) -> Ratio:
    """As `ratio`, of pairs in the same order."""
    logs = np.log(np.asarray(second, dtype=float)) - np.log(np.asarray(first, dtype=float))
    return _as_ratio(paired_difference(logs))


def paired_difference(differences: Values) -> Difference:
    """The middle of these differences: the median of all means of two. ValueError where there is none."""
    known = np.asarray(differences, dtype=float)
    if not known.size:
        raise ValueError("expected at least one pair")
    rows, columns = np.triu_indices(known.size)
    every = np.sort((known[rows] + known[columns]) / 2)
    if known.size > _EXACT_MOST:
        spread = math.sqrt(known.size * (known.size + 1) * (2 * known.size + 1) / 24)
        return _interval(every, _depth_by_normal(every.size, spread), CONFIDENCE)
    return _interval(every, *_depth(np.cumsum(_signed_sums(np.arange(1, known.size + 1)))))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """`ps` in their order, each made larger for being one of several (Holm 1979); one that is not known (NaN) is 1."""
    ps = [1.0 if math.isnan(p) else p for p in ps]
    adjusted, least = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda one: ps[one])):
        least = max(least, min(ps[index] * (len(ps) - place), 1.0))
        adjusted[index] = least
    return tuple(adjusted)


def rank_test_reaches(first: int, second: int) -> float:
    """The least p that a one-sided `rank_test` of so many values a side can give."""
    return 1 / math.comb(first + second, second) if first and second else 1.0


def paired_test_reaches(pairs: int) -> float:
    """The least p that a one-sided `paired_test` of so many pairs can give."""
    return 0.5**pairs


def control(history: Values, new: Values, *, p: float, least_spread: float = 0.0) -> Control:
    """The mean of `new` against a history of at least three values, by Student's prediction limits.

    Values of the history more than `FAR` robust deviations off are left out, at most a fifth of them: one night that
    went wrong must not make the limits so wide that nothing is ever seen again. `least_spread` is what chance alone
    does to a value. Of nothing, values are beyond a limit of p = 0.01 in 1.4 % after 8 nights, in 1.0 % after 20.
    """
    from scipy.special import stdtr, stdtrit

    known = np.asarray(history, dtype=float)
    left_out = _far(known)
    used = np.delete(known, left_out)
    freedom = used.size - 1
    spread = max(float(used.std(ddof=1)), least_spread) * math.sqrt(1 / len(new) + 1 / used.size)
    centre, mean = float(used.mean()), float(np.mean(new))
    reach = float(stdtrit(freedom, 1 - p)) * spread
    if spread > 0:
        above = float(stdtr(freedom, -(mean - centre) / spread))
        below = float(stdtr(freedom, (mean - centre) / spread))
    else:
        above, below = float(mean <= centre), float(mean >= centre)
    return Control(centre, centre - reach, centre + reach, mean, above, below, tuple(int(one) for one in left_out))


def chance_of_hits(hits: int, cases: int, new_hits: int, new_cases: int) -> float:
    """The chance of `new_hits` or more in `new_cases`, after `hits` in `cases` of the same (beta-binomial, even prior).

    A normal spread knows nothing of the first failure after none: one in 60 after none in 600 has a chance of 9 %.
    """
    from scipy.special import betaln, gammaln

    fewer = np.arange(min(new_hits, new_cases + 1))
    ways = gammaln(new_cases + 1) - gammaln(fewer + 1) - gammaln(new_cases - fewer + 1)
    a, b = hits + 1, cases - hits + 1
    chances = np.exp(ways + betaln(fewer + a, new_cases - fewer + b) - betaln(a, b))
    return float(min(max(1.0 - chances.sum(), 0.0), 1.0))


def _far(values: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    middle = np.median(values)
    off = np.abs(values - middle)
    robust = 1.4826 * float(np.median(off))
    far = np.flatnonzero(off > FAR * robust) if robust > 0 else np.empty(0, dtype=np.int64)
    return far if far.size <= values.size // 5 else np.empty(0, dtype=np.int64)


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; what is equal shares the mean of its ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: Floats = (ends - (counts - 1) / 2)[inverse.ravel()]
    return middle


def _sums(ranks: np.ndarray[Any, np.dtype[np.int64]], chosen: int) -> Floats:
    """The chance of each sum of `chosen` of the ranks, when every choice is as likely; the index is the sum."""
    most = int(np.sort(ranks)[-chosen:].sum())
    ways = np.zeros((chosen + 1, most + 1))
    ways[0, 0] = 1.0
    for rank in ranks.tolist():
        for count in range(chosen, 0, -1):
            ways[count, rank:] += ways[count - 1, : most + 1 - rank]
    chances: Floats = ways[chosen] / ways[chosen].sum()
    return chances


def _signed_sums(ranks: np.ndarray[Any, np.dtype[np.int64]]) -> Floats:
    """The chance of each sum of those ranks that go up, when each goes up or down by a coin."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks.tolist():
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: chances.size - rank]
        chances = (chances + moved) / 2
    return chances


def _tail(chances: Floats, seen: int, middle: float, greater: bool) -> float:  # noqa: FBT001  # passed on
    if greater:
        return min(float(chances[seen:].sum()), 1.0)
    sums = np.arange(chances.size)
    return min(float(chances[np.abs(sums - middle) >= abs(seen - middle) - 1e-9].sum()), 1.0)


def _by_normal(seen: float, middle: float, spread: float, greater: bool) -> float:  # noqa: FBT001  # passed on
    if spread <= 0:
        return 1.0
    score = (seen - middle) / spread
    return math.erfc(score / math.sqrt(2)) / 2 if greater else math.erfc(abs(score) / math.sqrt(2))


def _spread_of_sum(ranks: np.ndarray[Any, np.dtype[np.int64]], chosen: int) -> float:
    """The standard deviation of the sum of `chosen` of these ranks, drawn without putting back."""
    return math.sqrt(chosen * (ranks.size - chosen) / (ranks.size - 1) * float(ranks.var()))


def _depth(below: Floats) -> tuple[int, float]:
    """How many of the ordered values lie outside at each end, and what the interval between then holds.

    `below[k]`: the chance that the statistic is k or less. Too few values for 0.95: all lie inside.
    """
    outside = int(np.searchsorted(below, (1 - CONFIDENCE) / 2 + 1e-12, side="right"))
    depth = max(outside, 1)
    return depth, max(1 - 2 * float(below[depth - 1]), 0.0)


def _depth_by_normal(count: int, spread: float) -> int:
    return max(int(count / 2 - 1.959964 * spread), 1)


def _interval(ordered: Floats, depth: int, confidence: float) -> Difference:
    return Difference(float(np.median(ordered)), float(ordered[depth - 1]), float(ordered[-depth]), confidence)


def _as_ratio(found: Difference) -> Ratio:
    return Ratio(math.exp(found.difference), math.exp(found.low), math.exp(found.high), found.confidence)

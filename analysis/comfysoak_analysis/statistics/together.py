"""What goes with what, and how late? And do events follow a state? Both against the series shifted round in time.

A shift keeps all that each series is (its trends, its bursts, how long it remembers) and breaks only what joins the
two. Neighbouring shifts are nearly the same try: p counts as many tries as are different.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import NORMAL_95, Flags, Floats, memory_of

FEWEST_POINTS = 60
FEWEST_TRIES = 20  # different shifts
FEWEST_CASES = 3
NORMAL_99 = 2.5758  # 99 % of a normal lie within so many standard deviations
TINY = 1e-9
BEYOND_TRIES = 20.0  # how many times rarer than the tries can show a fitted tail may make a p


@dataclass(frozen=True, slots=True)
class Lagged:
    """The strongest correlation of changes; `lag_s` > 0: the second follows the first by so much.

    `chance`: what the strongest is below in 95 % of shifts. `points`: how many changes of both carry the correlation
    (a few large ones count as few).
    """

    lag_s: float
    correlation: float
    chance: float
    p: float
    points: int


@dataclass(frozen=True, slots=True)
class Lift:
    """How many times as often events come in a state as out of it, with its 95 % interval.

    `hits` of the `cases` came in the state; by chance `expected` would. `p` is that of as many or more.
    """

    ratio: float
    low: float
    high: float
    p: float
    hits: int
    cases: int
    expected: float


def lagged(width_s: float, first: Floats, second: Floats, most_lag_s: float) -> Lagged | None:
    """What the changes of two series (even steps of `width_s`, not finite where unknown) have to do with each other.

    Both of shape (n,), or (servers, n): then each server's are held against its own only, and shifted together. None
    of fewer than 60 changes known in both, of a series that does not change, and where lags up to `most_lag_s` leave
    fewer than 20 different shifts to compare with.
    """
    one, other = (np.diff(_known(np.atleast_2d(np.asarray(values, dtype=float)))) for values in (first, second))
    reach, steps = max(int(most_lag_s // width_s), 0), one.shape[1]
    both = np.isfinite(one) & np.isfinite(other)
    if steps / (2 * reach + 1) - 2 < FEWEST_TRIES or both.sum() < FEWEST_POINTS:
        return None
    one, other = _standard(one), _standard(other)
    correlations = _correlations(one, other)
    if correlations is None:
        return None
    window = np.arange(-reach, reach + 1)
    lag = int(window[np.argmax(np.abs(correlations[window]))])
    found = float(correlations[lag])
    null = correlations[2 * reach + 1 : steps - 2 * reach]
    tries = null.size // window.size
    largest = np.abs(null[: tries * window.size]).reshape(tries, window.size).max(axis=1)
    p = _p_lagged(null, largest, abs(found), window.size)
    return Lagged(lag * width_s, found, float(np.quantile(largest, 0.95)), p, _carried(one, other, lag))


def _known(values: Floats) -> Floats:
    """NaN where it is not finite."""
    return np.where(np.isfinite(values), values, np.nan)


def _standard(changes: Floats) -> Floats:
    """Each row centred and scaled; unknown changes, and rows that do not change, as 0."""
    known = np.isfinite(changes)
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    filled = np.where(known, changes, 0.0)
    centred = np.where(known, filled - filled.sum(axis=1, keepdims=True) / counts, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / counts)
    moves = spread > TINY * np.abs(filled).max(axis=1, keepdims=True, initial=0.0)
    standard: Floats = np.divide(centred, spread, out=np.zeros_like(centred), where=moves & known)
    return standard


def _correlations(one: Floats, other: Floats) -> Floats | None:
    """At each circular lag: how `other` goes with `one` so many steps earlier; None where either does not change."""
    scale = math.sqrt(float((one**2).sum()) * float((other**2).sum()))
    if scale <= 0:
        return None
    joint = (np.fft.rfft(one).conj() * np.fft.rfft(other)).sum(axis=0)
    found: Floats = np.fft.irfft(joint, one.shape[1]) / scale
    return found


def _p_lagged(null: Floats, largest: Floats, found: float, window: int) -> float:
    """Of the largest of a window of lags, against those of other shifts; beyond them all by the tail of a normal."""
    as_large = int(np.count_nonzero(largest >= found))
    counted = (1 + as_large) / (1 + largest.size)
    if as_large:
        return counted
    spread = max(float(null.std()), float(np.quantile(np.abs(null), 0.99)) / NORMAL_99)  # few spikes: the second
    tail = 1 - math.erf(found / spread / math.sqrt(2)) if spread > 0 else 0.0
    return max(min(window * tail, counted), counted / BEYOND_TRIES)


def _carried(one: Floats, other: Floats, lag: int) -> int:
    """How many changes carry a correlation, were each to carry as much."""
    products = np.abs(one * np.roll(other, -lag, axis=1))
    squares = float((products**2).sum())
    return round(float(products.sum()) ** 2 / squares) if squares > 0 else 0


def lift(counts: Floats, state: Floats) -> Lift | None:
    """Whether events (`counts` in even buckets) come when a state holds (`state`: 1, 0, or NaN where unknown).

    Both of shape (n,), or (servers, n): then each server's events are held against its own state only, and shifted
    together. None of fewer than 3 events where the state is known, of a state that always or never holds, and where
    the series leave fewer than 20 different shifts.
    """
    counts, state = (np.atleast_2d(np.asarray(values, dtype=float)) for values in (counts, state))
    told = np.isfinite(state)
    holds = np.where(told, state, 0.0) > 0.5  # more of the bucket than not
    events = np.where(told, counts, 0.0)
    cases = round(float(events.sum()))
    if cases < FEWEST_CASES or not holds.any() or holds.sum() == told.sum():
        return None
    shifted = _hits_by_shift(events, holds, told)
    memory = memory_of(shifted)
    away = max(int(memory), 1)  # shifts nearer than that are nearly the real thing
    null = shifted[1 + away : shifted.size - away]
    if null.size / (1 + memory) < FEWEST_TRIES:
        return None
    hits, expected = round(float(shifted[0])), float(null.mean())
    if not 0 < expected < cases:
        return None
    scatter = max(float(null.var()) / expected, 1.0)  # how much more than single events would
    ratio = (hits + 0.5) / (cases - hits + 0.5) * (cases - expected) / expected
    factor = math.exp(NORMAL_95 * math.sqrt(scatter * (1 / (hits + 0.5) + 1 / (cases - hits + 0.5))))
    p = _p_lift(null, hits, null.size / (1 + memory), scatter)
    return Lift(ratio, ratio / factor, ratio * factor, p, hits, cases, expected)


def _hits_by_shift(counts: Floats, holds: Flags, told: Flags) -> Floats:
    """How many events would fall into the state, were it so many buckets later; corrected for what is unknown."""
    spectrum = np.fft.rfft(counts)
    size = counts.shape[1]

    def falling(flags: Flags) -> Floats:
        joint = (spectrum * np.fft.rfft(flags.astype(float)).conj()).sum(axis=0)
        return np.asarray(np.fft.irfft(joint, size), dtype=float)

    hits = np.maximum(falling(holds), 0.0)
    if not told.all():
        cases = float(counts.sum())
        hits *= cases / np.maximum(falling(told), cases / 2)
    return np.asarray(np.round(hits, 6), dtype=float)


def _p_lift(null: Floats, hits: int, tries: float, scatter: float) -> float:
    """That of `hits` or more: by counting shifts; beyond the most any shift gave, by a tail fitted to them."""
    from scipy.special import betainc, gammainc  # a tenth of a second to import, and only with events

    share = float(np.count_nonzero(null >= hits)) / null.size
    counted = (1 + share * tries) / (1 + tries)
    if share > 0:
        return counted
    mean = float(null.mean())
    tail = gammainc(hits, mean) if scatter <= 1 + TINY else betainc(hits, mean / (scatter - 1), 1 - 1 / scatter)
    return max(min(float(tail), counted), counted / BEYOND_TRIES)

"""What goes with what, and how late? And do events follow a state? Both against the series shifted round in time.

A shift keeps all that each series is (its trends, its bursts, how long it remembers) and breaks only what joins the
two. Neighbouring shifts are nearly the same try: p counts as many tries as are different.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats, memory_of

FEWEST_POINTS = 60
FEWEST_TRIES = 20  # different shifts
FEWEST_CASES = 3
_BEYOND_TRIES = 20.0  # how many times rarer than the tries can show a fitted tail may make a p


@dataclass(frozen=True, slots=True)
class Lagged:
    """The strongest correlation of changes; `lag_s` > 0: the second follows the first by so much.

    `points`: how many changes of both carry it (few large ones count as few).
    """

    lag_s: float
    correlation: float
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
    """What the changes of two series (even steps of `width_s`, NaN where unknown) have to do with each other.

    None of fewer than 60 changes known in both, of a series that does not change, and where lags up to `most_lag_s`
    leave fewer than 20 different shifts to compare with.
    """
    one, other = np.diff(np.asarray(first, dtype=float)), np.diff(np.asarray(second, dtype=float))
    reach = max(int(most_lag_s // width_s), 0)
    windows = one.size / (2 * reach + 1) - 2
    both = np.isfinite(one) & np.isfinite(other)
    if windows < FEWEST_TRIES or both.sum() < FEWEST_POINTS:
        return None
    one, other = _standard(one), _standard(other)
    if not one.any() or not other.any():
        return None
    correlations = _correlations(one, other)
    window = np.arange(-reach, reach + 1)
    lag = int(window[np.argmax(np.abs(correlations[window]))])
    found = float(correlations[lag])
    null = correlations[2 * reach + 1 : one.size - 2 * reach]
    return Lagged(lag * width_s, found, _p_lagged(null, abs(found), window.size), _carried(one, other, lag))


def _standard(changes: Floats) -> Floats:
    """Centred and scaled, unknown ones as 0."""
    centred = changes - np.nanmean(changes)
    spread = float(np.nanstd(changes))
    if spread <= 1e-12 * float(np.nanmax(np.abs(changes), initial=0.0)):
        return np.zeros_like(changes)
    return np.nan_to_num(centred / spread)


def _correlations(one: Floats, other: Floats) -> Floats:
    """At each circular lag: how `other` goes with `one` so many steps earlier."""
    joint = np.fft.irfft(np.fft.rfft(one).conj() * np.fft.rfft(other), one.size)
    scale = math.sqrt(float(one @ one) * float(other @ other))
    correlations: Floats = joint / scale
    return correlations


def _p_lagged(null: Floats, found: float, window: int) -> float:
    """Of the largest of a window of lags, against the windows of other shifts."""
    tries = null.size // window
    largest = np.abs(null[: tries * window]).reshape(tries, window).max(axis=1)
    as_large = int(np.count_nonzero(largest >= found))
    counted = (1 + as_large) / (1 + tries)
    if as_large:
        return counted
    spread = max(float(null.std()), float(np.quantile(np.abs(null), 0.99)) / 2.576)  # the larger: few spikes, fat tail
    tail = 1 - math.erf(found / spread / math.sqrt(2)) if spread > 0 else 0.0
    return max(min(window * tail, counted), counted / _BEYOND_TRIES)


def _carried(one: Floats, other: Floats, lag: int) -> int:
    """How many changes carry a correlation, were each to carry as much."""
    products = np.abs(one * np.roll(other, -lag))
    squares = float(products @ products)
    return round(float(products.sum()) ** 2 / squares) if squares > 0 else 0


def lift(counts: Floats, state: Floats) -> Lift | None:
    """Whether events (`counts` in even buckets) come when a state holds (`state`: 1, 0, or NaN where unknown).

    None of fewer than 3 events where the state is known, of a state that always or never holds, and where the series
    leave fewer than 20 different shifts.
    """
    counts, state = np.asarray(counts, dtype=float), np.asarray(state, dtype=float)
    told = np.isfinite(state)
    holds = np.where(told, state, 0.0) > 0.5  # more of the bucket than not
    events = np.where(told, counts, 0.0)
    cases, inside = round(float(events.sum())), int(holds.sum())
    outside = int(told.sum()) - inside
    if cases < FEWEST_CASES or not inside or not outside:
        return None
    shifted = _hits_by_shift(counts, holds, told)
    memory = memory_of(shifted)
    away = max(int(memory), 1)  # shifts nearer than that are nearly the real thing
    null = shifted[1 + away : shifted.size - away]
    if null.size / (1 + memory) < FEWEST_TRIES:
        return None
    hits, expected = round(float(shifted[0])), float(null.mean())
    ratio, low, high, scatter = _ratio(hits, cases, inside / outside, null)
    return Lift(ratio, low, high, _p_lift(null, hits, null.size / (1 + memory), scatter), hits, cases, expected)


def _hits_by_shift(counts: Floats, holds: np.ndarray, told: np.ndarray) -> Floats:
    """How many events would fall into the state, were it so many buckets later; corrected for what is unknown."""
    spectrum = np.fft.rfft(counts)
    hits = np.fft.irfft(spectrum * np.fft.rfft(holds.astype(float)).conj(), counts.size)
    seen = np.fft.irfft(spectrum * np.fft.rfft(told.astype(float)).conj(), counts.size)
    full = float(seen[0])
    found: Floats = np.maximum(hits, 0.0) * np.where(seen > full / 2, full / np.maximum(seen, full / 2), 1.0)
    return np.round(found, 6)


def _ratio(hits: int, cases: int, odds_of_time: float, null: Floats) -> tuple[float, float, float, float]:
    """The ratio of rates with its interval, and by how much the null scatters beyond what single events would."""
    ratio = (hits + 0.5) / (cases - hits + 0.5) / odds_of_time
    mean = float(null.mean())
    scatter = max(float(null.var()) / mean, 1.0) if mean > 0 else 1.0
    error = 1.96 * math.sqrt(scatter * (1 / (hits + 0.5) + 1 / (cases - hits + 0.5)))
    return ratio, ratio * math.exp(-error), ratio * math.exp(error), scatter


def _p_lift(null: Floats, hits: int, tries: float, scatter: float) -> float:
    """That of `hits` or more: by counting shifts; beyond the most any shift gave, by a tail fitted to them."""
    from scipy.special import betainc, gammainc  # a tenth of a second to import, and only with events

    share = float(np.count_nonzero(null >= hits)) / null.size
    counted = (1 + share * tries) / (1 + tries)
    mean = float(null.mean())
    if share > 0 or mean <= 0:
        return counted
    tail = gammainc(hits, mean) if scatter <= 1 + 1e-9 else betainc(hits, mean / (scatter - 1), 1 - 1 / scatter)
    return max(min(float(tail), counted), counted / _BEYOND_TRIES)

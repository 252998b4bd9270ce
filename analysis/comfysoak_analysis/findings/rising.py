"""Does something rise and go on rising? What leaks and drifts have in common.

A trend alone is not enough: memory that fills up to a plateau, a step when another model came, a sawtooth that was
recorded on its way up all have one. So a rise counts only where a line to the end fits it better than one step, a line
that ends in a plateau fits it no better, and it was never given back.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import Floats, memory_of, numbered
from comfysoak_analysis.statistics.trend import Trend, trend

SKIPPED = 0.2  # of the time, at the start: caches fill, allocators reserve
CHANCE = 0.01  # of one false alarm in all that is tested together
STANDS_OUT, EASIER = 10.0, 5.0  # times the noise; ranks alone cannot tell of few independent points how far they rose
FEWEST = 5
LATE, SLOWED_TO = 0.7, 0.6  # from there on a plateau is below that share of the whole slope
SURE = 9.0  # how much better a plateau must fit, in units of the noise of one independent point
FAR = 6.0  # median deviations
GIVEN_BACK = 0.75  # of the rise; noise stays below it, a sawtooth does not
_SMOOTH = 20  # parts of the series
_KNEES = np.linspace(0.25, 0.9, 14)  # where a plateau may begin, as shares of what is tested


@dataclass(frozen=True, slots=True)
class Series:
    """Something measured over time, in buckets; `strata` says which points may be compared with each other."""

    subject: str
    seconds: Floats
    values: Floats
    strata: Sequence[Hashable] | np.ndarray | None = None
    independent: bool = False  # points so far apart that none knows of the one before: settles


@dataclass(frozen=True, slots=True)
class Rise:
    """A series that rises and goes on rising."""

    series: Series
    trend: Trend
    began_s: float
    ended_s: float

    @property
    def total(self) -> float:
        """From the first to the last point, at the slope within strata."""
        return self.trend.slope_per_s * (self.ended_s - self.began_s)


def rises(tested: Sequence[Series], least: float) -> list[Rise]:
    """Those that rise by `least` or more from first to last, the steepest first.

    All of `tested` together have a chance of one in a hundred to give one where nothing rises.
    """
    limit = CHANCE / max(len(tested), 1)
    found = [rise for series in tested if (rise := rise_of(series, least, limit)) is not None]
    return sorted(found, key=lambda one: -one.total)


def rise_of(series: Series, least: float, limit: float = CHANCE) -> Rise | None:
    """One series by itself; `limit` is the p it must stay below."""
    known = np.flatnonzero(np.isfinite(series.values))
    seconds, values = series.seconds[known], series.values[known]
    strata = np.zeros(known.size) if series.strata is None else numbered(series.strata)[known]
    slope = slope_of(series)
    if slope is None or slope.low_per_s <= 0:
        return None
    late = seconds >= seconds.min() + SKIPPED * np.ptp(seconds)
    levels = levelled(seconds[late], values[late], strata[late], slope.slope_per_s)
    limit *= EASIER if _stands_out(*levels, slope.slope_per_s) else 1.0
    if _chance(slope, seconds, values, independent=series.independent) > limit:
        return None
    found = Rise(series, slope, float(seconds.min()), float(seconds.max()))
    if found.total < least or not _goes_on(*levels) or _was_given_back(*levels, slope.slope_per_s):
        return None
    return found


def slope_of(series: Series, confidence: float = 0.95) -> Trend | None:
    """How fast it moves, within strata and after its start, whether or not it rises."""
    known = np.flatnonzero(np.isfinite(series.values))
    strata = np.zeros(known.size) if series.strata is None else numbered(series.strata)[known]
    if known.size < FEWEST:
        return None
    return trend(series.seconds[known], series.values[known], strata, skip=SKIPPED, confidence=confidence)


def _chance(slope: Trend, seconds: Floats, values: Floats, *, independent: bool) -> float:
    """The p of the trend; of independent points Kendall's own, which a staircase of few points needs."""
    if not independent:
        return slope.p
    late = values[seconds >= seconds.min() + SKIPPED * np.ptp(seconds)]
    first, second = np.triu_indices(late.size, 1)
    s = float(np.sign(late[second] - late[first]).sum())
    spread = math.sqrt(late.size * (late.size - 1) * (2 * late.size + 5) / 18)
    return math.erfc(max(abs(s) - 1, 0.0) / spread / math.sqrt(2))


def levelled(seconds: Floats, values: Floats, strata: np.ndarray, slope: float) -> tuple[Floats, Floats]:
    """Times and values in order of time, as if all were of one stratum: less what each lies above the others."""
    rest = values - slope * seconds
    levels = values.copy()
    for label in np.unique(strata):
        levels[strata == label] -= np.median(rest[strata == label])
    rest = levels - slope * seconds
    middle = float(np.median(rest))
    reach = FAR * float(np.median(np.abs(rest - middle)))
    levels = slope * seconds + np.clip(rest, middle - reach, middle + reach)  # single odd points say nothing of shape
    order = np.argsort(seconds, kind="stable")
    return seconds[order], levels[order]


def _stands_out(seconds: Floats, levels: Floats, slope: float) -> bool:
    """Whether it rose by many times the noise around it."""
    noise = float(np.std(levels - slope * seconds)) if levels.size else 0.0
    return slope * float(np.ptp(seconds)) > STANDS_OUT * noise


def _goes_on(seconds: Floats, levels: Floats) -> bool:
    """Whether a line to the end tells it better than one step, and a line that ends in a plateau no better."""
    if levels.size < FEWEST:
        return False
    at = (seconds - seconds[0]) / max(float(np.ptp(seconds)), 1e-9)
    line, rest = misfit(at, levels)
    plateau, rest_of_plateau = min((misfit(np.minimum(at, knee), levels) for knee in _KNEES), key=lambda one: one[0])
    memory = memory_of(rest_of_plateau if plateau < line else rest)
    least = 1e-9 * float(np.var(levels)) * levels.size  # what rounding leaves of a series without noise
    sure = (line - plateau) * levels.size / memory > SURE * max(plateau, least)
    ends = at > LATE
    slowed = _slope(at[ends], levels[ends]) < SLOWED_TO * _slope(at, levels)
    return line <= _step_misfit(levels) + least and not (sure and slowed)


def misfit(at: Floats, levels: Floats) -> tuple[float, Floats]:
    """The sum of squares that a line over `at` leaves, and what it leaves."""
    across, up = at - at.mean(), levels - levels.mean()
    rest = up - across * (float(across @ up) / max(float(across @ across), 1e-12))
    return float(rest @ rest), rest


def _slope(at: Floats, levels: Floats) -> float:
    """Least squares; 0 of a single point."""
    across = at - at.mean() if at.size else at
    return float(across @ levels) / max(float(across @ across), 1e-12)


def _step_misfit(levels: Floats) -> float:
    """The sum of squares that the best single step leaves."""
    centred = levels - levels.mean()
    before = np.arange(1, levels.size)
    explained = np.cumsum(centred)[:-1] ** 2 * levels.size / (before * (levels.size - before))
    return float(centred @ centred - explained.max())


def _was_given_back(seconds: Floats, levels: Floats, slope: float) -> bool:
    """Whether most of the rise was once lost again."""
    width = max(levels.size // _SMOOTH, 1)
    smooth = np.convolve(levels, np.ones(width) / width, mode="valid")
    fall = float((np.maximum.accumulate(smooth) - smooth).max())
    return fall > GIVEN_BACK * slope * float(np.ptp(seconds))

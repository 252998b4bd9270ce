"""Does it rise? Kendall's test within strata, and Theil and Sen's slope, on as many points as are independent.

Least squares finds a trend in 23 to 42 % of clean sawtooth memory, and plain Mann-Kendall in 19 to 43 %: both take
neighbours for independent, and a change of the mix of loaded models or workflows for a rise. What this one gave is in
docs/analysis.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.statistics.series import MOST_POINTS, Floats, memory_of, numbered, thinned

FEWEST_POINTS = 6


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope within strata with its interval (95 % if not asked otherwise), in units of the values a second.

    `p` is two-sided.
    """

    slope_per_s: float
    low_per_s: float
    high_per_s: float
    p: float
    points: int

    def rises(self, at_most_p: float = 0.01) -> bool:
        """Whether it surely goes up."""
        return self.p <= at_most_p and self.low_per_s > 0


def trend(
    seconds: Floats,
    values: Floats,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    *,
    skip: float = 0.0,
    confidence: float = 0.95,
) -> Trend | None:
    """The trend of `values` at `seconds`; None with fewer than 6 points that have another one in their stratum.

    `values` are means of buckets, or settled levels; NaN is left out. `strata` has a label for each point (such as the
    set of loaded models): only points of one label are compared. `skip` is the share of the time left out at the
    start, `confidence` that of the slope's interval. Neighbours of one stratum are averaged to at most 500 points in
    all. `p` allows for autocorrelation: the variance of Kendall's S grows by the sum of the residuals' autocorrelations
    (as Hamed and Rao's, 1998, but on residuals of the slope and to the first that is not positive), and S is held
    against Student's t.
    """
    points = _points(np.asarray(seconds, dtype=float), np.asarray(values, dtype=float), strata, skip)
    if sum(times.size for times, _ in points) < FEWEST_POINTS:
        return None
    pairs = [_pairs(times, levels) for times, levels in points]
    slopes = np.sort(np.concatenate([one[0] for one in pairs]))
    s, variance = sum(one[1] for one in pairs), sum(one[2] for one in pairs)
    if not slopes.size:
        return None
    slope = float(np.median(slopes))
    memory = _memory(points, slope)
    spread = float(np.sqrt(variance * memory))
    count = sum(times.size for times, _ in points)
    reach = _student(confidence, count / memory - 2) * spread / 2
    low, high = (int(np.clip(round(slopes.size / 2 + side * reach), 0, slopes.size - 1)) for side in (-1.0, 1.0))
    return Trend(slope, float(slopes[low]), float(slopes[high]), _p(s, spread, count / memory - 2), count)


def _points(
    seconds: Floats, values: Floats, strata: Sequence[Hashable] | np.ndarray | None, skip: float
) -> list[tuple[Floats, Floats]]:
    """Times and values of each stratum that has two or more, thinned together to `MOST_POINTS`."""
    finite = np.isfinite(seconds) & np.isfinite(values)
    if not finite.any():
        return []
    first, last = seconds[finite].min(), seconds[finite].max()
    chosen = np.flatnonzero(finite & (seconds >= first + skip * (last - first)))
    chosen = chosen[np.argsort(seconds[chosen], kind="stable")]
    labels = (np.zeros(seconds.size, dtype=np.int64) if strata is None else numbered(strata))[chosen]
    found = []
    for label in np.unique(labels):
        rows = chosen[labels == label]
        most = max(round(MOST_POINTS * rows.size / max(chosen.size, 1)), 2)
        if rows.size > 1:
            found.append((thinned(seconds[rows], most), thinned(values[rows], most)))
    return found


def _pairs(times: Floats, levels: Floats) -> tuple[Floats, float, float]:
    """Of one stratum: the slopes of all pairs, Kendall's S, and its variance with ties, were points independent."""
    first, second = np.triu_indices(times.size, 1)
    apart_s, rises = times[second] - times[first], levels[second] - levels[first]
    told = apart_s > 0
    slopes = rises[told] / apart_s[told]
    size = times.size
    _, ties = np.unique(levels, return_counts=True)
    variance = (size * (size - 1) * (2 * size + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    return slopes, float(np.sign(slopes).sum()), variance


def _memory(points: list[tuple[Floats, Floats]], slope: float) -> float:
    """`memory_of` what the slope leaves of all strata, in order of time; a loud one hides no quiet one's memory."""
    times = np.concatenate([times for times, _ in points])
    rest = [levels - slope * times for times, levels in points]
    residuals = np.concatenate([_scaled(one - np.median(one)) for one in rest])
    return memory_of(residuals[np.argsort(times, kind="stable")])


def _scaled(residuals: Floats) -> Floats:
    """By their deviation; those of a stratum that never moves stay 0."""
    spread = float(residuals.std())
    return residuals / spread if spread > 0 else residuals


def _p(s: float, spread: float, freedom: float) -> float:
    """Two-sided, with the correction for steps of S."""
    from scipy.special import stdtr  # a tenth of a second to import, and not every page needs it

    if spread <= 0:
        return 1.0
    return float(min(2 * stdtr(max(freedom, 1.0), -max(abs(s) - 1, 0.0) / spread), 1.0))


def _student(confidence: float, freedom: float) -> float:
    from scipy.special import stdtrit  # as above

    return float(stdtrit(max(freedom, 1.0), (1 + confidence) / 2))

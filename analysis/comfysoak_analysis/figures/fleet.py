"""Many GPUs or servers in one chart: a band over all of them, and each of them for who selects it.

Eight lines with their bands, one upon the other, cannot be read; a median between the quartiles, between the extremes,
can, and no spike is lost: the outer band is made of the extremes, not of the means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comfysoak_analysis.buckets import MOST, Buckets, Grid, regrouped
from comfysoak_analysis.figures.chart import Series, line
from comfysoak_analysis.frames.tracks import Tracks
from comfysoak_analysis.statistics.series import Floats

MOST_ALONE = 3  # of lines that are read as well as a band
MOST_DRAWN = 64  # subjects in the page, each of which can be selected
MOST_VALUES = 16_000  # of one column in one chart, so that a large fleet does not make a large page
_LEAST_BUCKETS = 240
HOLD_S = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One subject's values as they come, and how they are to be drawn."""

    of: str  # uuid of a GPU, address of a server, name of a host
    name: str
    colour: str
    buckets: Buckets


def told(tracks: Tracks, column: str) -> Mapping[str, Buckets]:
    """The subjects that tell `column` at all."""
    return {subject: columns[column] for subject, columns in tracks.items() if has_values(columns[column])}


def has_values(buckets: Buckets) -> bool:
    """Whether any bucket has a value."""
    return not bool(np.isnan(buckets.mean).all())


def scaled(buckets: Buckets, by: float) -> Buckets:
    """The same in another unit."""
    return Buckets(buckets.grid, buckets.mean * by, buckets.low * by, buckets.high * by, buckets.number)


def lines(
    found: Sequence[Line], duration_s: float, *, kind: str = "line", extremes: bool = True, least_s: float = 0.1
) -> list[Series]:
    """A line a subject; for more than `MOST_ALONE` of them a fleet band before those, which wait to be selected."""
    if not found:
        return []
    pace_s = max(pace(one.buckets) for one in found)
    wanted = min(MOST, max(MOST_VALUES // len(found), _LEAST_BUCKETS))
    grid = Grid.over(duration_s, wanted, max(2 * pace_s, least_s))
    even = [regrouped(one.buckets, grid, max(HOLD_S, 3 * pace_s)) for one in found]
    alone = [
        _drawn(line(one.name, one.colour, buckets, kind=kind, of=one.of), extremes=extremes)
        for one, buckets in zip(found, even, strict=True)
    ]
    return alone if len(alone) <= MOST_ALONE else [*band(even, extremes=extremes), *alone]


def pace(buckets: Buckets) -> float:
    """How many seconds apart samples are: the usual distance of buckets with a value, to one digit."""
    apart = np.diff(np.flatnonzero(~np.isnan(buckets.mean)))
    usual = float(np.median(apart)) if len(apart) else 1.0
    # One bucket apart may be a finer pace than the buckets: then a chart's bucket may be as fine as they are.
    return float(f"{usual * buckets.grid.width_s:.1g}") / (2 if usual <= 1 else 1)


def band(even: Sequence[Buckets], *, extremes: bool = True) -> Iterator[Series]:
    """Lowest to highest, the middle half, and the median; all of one grid."""
    grid, half_s = even[0].grid, even[0].grid.width_s / 2
    means = np.vstack([one.mean for one in even])
    low, high = (means, means) if not extremes else (_rows(one.low for one in even), _rows(one.high for one in even))
    quarter, median, three = over(means, (0.25, 0.5, 0.75))
    (lowest,), (highest,) = over(low, (0.0,)), over(high, (1.0,))
    yield Series("lowest to highest", "fleet", "band", grid, median, lowest, highest, half_s, fleet=True)
    yield Series("middle half", "fleet", "band", grid, median, quarter, three, half_s, fleet=True)
    yield Series(f"median of {len(even)}", "fleet", "line", grid, median, None, None, half_s, fleet=True)


def over(rows: Floats, shares: tuple[float, ...]) -> Floats:
    """Quantiles over the rows of each column, of those that are known; NaN where none is.

    All columns at once: `np.nanquantile` takes them one by one, and they are many.
    """
    ordered = np.sort(rows, axis=0)  # NaN is last
    number = (~np.isnan(rows)).sum(axis=0)
    rank = np.maximum(number - 1, 0) * np.array(shares)[:, None]
    below = np.floor(rank).astype(np.int64)
    low, high = (np.take_along_axis(ordered, place, axis=0) for place in (below, np.ceil(rank).astype(np.int64)))
    share, apart = rank - below, high - low
    found: Floats = np.where(share < 0.5, low + apart * share, high - apart * (1 - share))
    return found


def _rows(parts: Iterable[Floats]) -> Floats:
    return np.vstack(list(parts))


def _drawn(series: Series, *, extremes: bool) -> Series:
    return series if extremes else replace(series, low=None, high=None)

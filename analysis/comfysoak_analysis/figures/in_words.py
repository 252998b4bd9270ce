"""What a chart shows, in a sentence and a small table, for those who do not see it."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.figures.chart import Chart, Series
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.tiles import number_text

MOST_NAMED = 4
_SAME = 0.05  # of the span: a smaller difference between the ends is called none


@dataclass(frozen=True, slots=True)
class Row:
    """One series over the whole run, as texts; `of` is what it is about."""

    name: str
    least: str
    mean: str
    most: str
    first_quarter: str
    last_quarter: str
    of: str


def sentence(chart: Chart) -> str:
    """Mean, least and most of what is shown first, how it went from the first to the last quarter; counts of marks."""
    said = [_of_series(one, chart.unit) for one in _shown(chart)[:MOST_NAMED]]
    more = len(_shown(chart)) - MOST_NAMED
    if more > 0:
        said.append(f"And {more} more, in the table.")
    marks: Counter[str] = Counter()
    for dots in chart.dots:
        marks[dots.name] += 0 if dots.small else len(dots.words)
    for spans in chart.spans:
        marks[spans.name] += len(spans.words)
    marks = +marks  # those there are
    if marks:
        said.append("Marks: " + ", ".join(f"{html.unescape(name)} {count:,}" for name, count in marks.items()) + ".")
    single = sum(len(dots.seconds) for dots in chart.dots if dots.small)
    if single:
        said.append(f"{single:,} single prompts as points.")
    return " ".join(said)


def table(chart: Chart) -> tuple[Row, ...]:
    """A line a series with values of its own, limits and bands left out."""
    return tuple(_row(one) for one in chart.series if one.kind != "band" and _known(one).size)


def _shown(chart: Chart) -> list[Series]:
    """Lines as they are shown while nothing is selected."""
    several = any(one.fleet for one in chart.series)
    return [
        one
        for one in chart.series
        if one.kind != "band" and one.colour != "capacity" and (one.fleet or not one.of or not several)
        if _known(one).size
    ]


def _known(series: Series) -> Floats:
    known: Floats = series.values[np.isfinite(series.values)]
    return known


def _of_series(series: Series, unit: str) -> str:
    row = _row(series)
    unit = f" {unit}" if unit else ""
    return f"{row.name}: {row.mean}{unit} on average, {row.least} to {row.most}{_went(series, row)}."


def _went(series: Series, row: Row) -> str:
    """In words, from the first quarter of the run to its last."""
    first, last = _quarters(series)
    known = _known(series)
    span = float(known.max() - known.min())
    if not np.isfinite([first, last]).all():
        return ""
    if abs(last - first) <= _SAME * span or row.first_quarter == row.last_quarter:
        return ", as high at the end as at the start"
    how = "higher" if last > first else "lower"
    return f", {how} in the last quarter ({row.last_quarter}) than in the first ({row.first_quarter})"


def _quarters(series: Series) -> tuple[float, float]:
    quarter = max(len(series.values) // 4, 1)
    parts = series.values[:quarter], series.values[-quarter:]
    first, last = (float(np.mean(one[np.isfinite(one)])) if np.isfinite(one).any() else np.nan for one in parts)
    return first, last


def _row(series: Series) -> Row:
    known = _known(series)
    low, high = (
        known if extreme is None or not np.isfinite(extreme).any() else extreme[np.isfinite(extreme)]
        for extreme in (series.low, series.high)
    )
    first, last = _quarters(series)
    least, mean, most = float(low.min()), float(known.mean()), float(high.max())
    shown = [number_text(value) for value in (least, mean, most, first, last)]
    return Row(html.unescape(series.name), shown[0], shown[1], shown[2], shown[3], shown[4], of=series.of)

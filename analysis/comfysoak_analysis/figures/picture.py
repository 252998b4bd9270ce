"""The one picture of the first screen: the whole run at a glance, drawn before any script runs, and on paper."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.figures.chart import Chart, Series
from comfysoak_analysis.statistics.series import Floats

WIDTH, HEIGHT = 1000.0, 100.0  # of its own units; the page stretches it
MOST_STEPS = 240
_CHOICE = ("per-minute", "utilisation", "vram", "host-cpu", "queue", "host-memory")


@dataclass(frozen=True, slots=True)
class Shape:
    """A path of SVG in one colour; `kind` is `bar`, `band` or `line`."""

    name: str
    colour: str
    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, what that is, and the value at the top edge."""

    title: str
    unit: str
    top: float
    shapes: tuple[Shape, ...]


def picture(charts: Sequence[Chart], duration_s: float) -> Picture | None:
    """Of the charts there are the one that says most of a run: prompts, else GPUs, else the host; None of none."""
    known = {chart.key: chart for chart in charts if not chart.empty and chart.series}
    chosen = next((known[key] for key in _CHOICE if key in known), None)
    if chosen is None or duration_s <= 0:
        return None
    several = any(one.fleet for one in chosen.series)
    shown = [one for one in chosen.series if one.fleet or not (several and one.of) if one.colour != "capacity"]
    bars = [one for one in shown if one.kind == "bar"]
    top = 100.0 if chosen.whole else _top(bars or shown, stacked=bool(bars))
    if not top:
        return None
    shapes = _stacked(bars, top, duration_s) if bars else _lines(shown, top, duration_s)
    return Picture(chosen.title, chosen.unit, top, tuple(shapes))


def _top(series: Sequence[Series], *, stacked: bool) -> float:
    if stacked:
        return float(np.nansum([one.values for one in series], axis=0).max())
    values = [one.high if one.high is not None else one.values for one in series]
    return max((float(one[np.isfinite(one)].max()) for one in values if np.isfinite(one).any()), default=0.0)


def _stacked(bars: Sequence[Series], top: float, duration_s: float) -> Iterator[Shape]:
    below = np.zeros(len(bars[0].values))
    for one in bars:
        above = below + np.nan_to_num(one.values)
        left = np.arange(len(above)) * one.grid.width_s / duration_s * WIDTH
        wide = max(one.grid.width_s / duration_s * WIDTH - 1, 0.6)
        parts = [
            f"M{x:.1f} {_y(low, top):.1f}h{min(wide, WIDTH - x):.1f}V{_y(high, top):.1f}H{x:.1f}z"
            for x, low, high in zip(left.tolist(), below.tolist(), above.tolist(), strict=True)
            if high > low and x < WIDTH
        ]
        yield Shape(html.unescape(one.name), one.colour, "bar", "".join(parts))
        below = above


def _lines(series: Sequence[Series], top: float, duration_s: float) -> Iterator[Shape]:
    for one in series:
        step = -(-len(one.values) // MOST_STEPS)
        x = (one.offset_s + np.arange(0, len(one.values), step) * one.grid.width_s) / duration_s * WIDTH
        name = html.unescape(one.name)
        if one.kind == "band" and one.low is not None and one.high is not None:
            low, high = _groups(one.low, step), _groups(one.high, step)
            yield Shape(name, one.colour, "band", _band(x, np.fmin.reduce(low, 1), np.fmax.reduce(high, 1), top))
        elif one.kind != "band":
            yield Shape(name, one.colour, "line", _line(x, _means(_groups(one.values, step)), top))


def _groups(values: Floats, step: int) -> Floats:
    """A row for each point of the picture."""
    padded = np.full(-(-len(values) // step) * step, np.nan)
    padded[: len(values)] = values
    return padded.reshape(-1, step)


def _means(rows: Floats) -> Floats:
    count = np.isfinite(rows).sum(axis=1)
    means: Floats = np.divide(np.nansum(rows, axis=1), count, out=np.full(len(rows), np.nan), where=count > 0)
    return means


def _line(x: Floats, values: Floats, top: float) -> str:
    parts, pen = [], "M"
    for across, value in zip(x.tolist(), values.tolist(), strict=True):
        if np.isfinite(value):
            parts.append(f"{pen}{across:.1f} {_y(value, top):.1f}")
        pen = "L" if np.isfinite(value) else "M"
    return "".join(parts)


def _band(x: Floats, low: Floats, high: Floats, top: float) -> str:
    known = np.isfinite(low) & np.isfinite(high)
    parts = []
    for run in np.split(np.flatnonzero(known), np.flatnonzero(np.diff(np.flatnonzero(known)) > 1) + 1):
        out = [f"{x[at]:.1f} {_y(low[at], top):.1f}" for at in run]
        back = [f"{x[at]:.1f} {_y(high[at], top):.1f}" for at in run[::-1]]
        parts.append("M" + "L".join(out + back) + "z" if len(run) else "")
    return "".join(parts)


def _y(value: float, top: float) -> float:
    return HEIGHT - min(max(value / top, 0.0), 1.0) * HEIGHT

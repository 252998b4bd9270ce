"""The picture of throughput and latency over load: plain geometry that the page draws as SVG without any script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.saturation.steps import Step
from comfysoak_analysis.statistics.scalability import Scalability

WIDTH, HEIGHT = 520.0, 230.0  # of one panel
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 12.0, 34.0
CURVE_POINTS = 60


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis and what it says."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture; positions in the picture's own units, lines as `points` of a polyline."""

    title: str
    unit: str
    words: str  # for who cannot see it
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[tuple[str, str], ...]  # colour, points
    dots: tuple[tuple[str, float, float, str], ...]  # colour, x, y, words
    knee_at: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """Throughput and latency beside each other."""

    x_title: str
    panels: tuple[Panel, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


def plot(steps: tuple[Step, ...], law: Scalability, unit: str) -> Plot:
    """Both panels."""
    top_load = max(steps[-1].load, law.knee or 0.0)
    return Plot(unit, (_throughput(steps, law, top_load, unit), _latency(steps, law, top_load, unit)))


def load_text(load: float, unit: str) -> str:
    """`8 users`, `1 user`, `2.5 prompts at the target`."""
    told = f"{load:.3g}"
    return f"{told} {unit if told != '1' else unit.replace('users', 'user').replace('prompts', 'prompt')}"


def _throughput(steps: tuple[Step, ...], law: Scalability, top_load: float, unit: str) -> Panel:
    loads = np.linspace(steps[0].load, top_load, CURVE_POINTS)
    fitted = 60 * law.at(loads)
    x, y, x_ticks, y_ticks = _scales(top_load, max(*(60 * step.per_s for step in steps), float(fitted.max())))
    dots = tuple(
        ("success", x(step.load), y(60 * step.per_s), f"{load_text(step.load, unit)}: {60 * step.per_s:.3g} a minute")
        for step in steps
    )
    return Panel(
        "Throughput",
        "prompts a minute",
        "Throughput over load: " + "; ".join(dot[3] for dot in dots) + ".",
        x_ticks,
        y_ticks,
        (("users", _points(x, y, loads, fitted)),),
        dots,
        x(law.knee) if law.knee is not None else None,
    )


def _latency(steps: tuple[Step, ...], law: Scalability, top_load: float, unit: str) -> Panel:
    x, y, x_ticks, y_ticks = _scales(top_load, max(step.p95_s for step in steps))
    loads = np.array([step.load for step in steps])
    lines, dots = [], []
    for colour, name, values in (
        ("p50", "median", np.array([step.p50_s for step in steps])),
        ("p95", "p95", np.array([step.p95_s for step in steps])),
    ):
        lines.append((colour, _points(x, y, loads, values)))
        dots += [
            (colour, x(load), y(value), f"{load_text(load, unit)}: {name} {value:.3g} s")
            for load, value in zip(loads.tolist(), values.tolist(), strict=True)
        ]
    words = "Latency over load: " + "; ".join(dot[3] for dot in dots) + "."
    knee_at = x(law.knee) if law.knee is not None else None
    return Panel("Latency, median and p95", "s", words, x_ticks, y_ticks, tuple(lines), tuple(dots), knee_at)


def _points(x: Callable[[float], float], y: Callable[[float], float], loads: np.ndarray, values: np.ndarray) -> str:
    return " ".join(f"{x(load):.1f},{y(value):.1f}" for load, value in zip(loads, values, strict=True))


def _scales(
    top_x: float, top_y: float
) -> tuple[Callable[[float], float], Callable[[float], float], tuple[Tick, ...], tuple[Tick, ...]]:
    """From 0 to the next round number each."""
    step_x, step_y = _nice(top_x / 6), _nice(top_y / 4)
    last_x, last_y = (step * np.ceil(top / step) for step, top in ((step_x, top_x), (step_y, top_y)))

    def x(load: float) -> float:
        return float(LEFT + (WIDTH - LEFT - RIGHT) * load / last_x)

    def y(value: float) -> float:
        return float(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / last_y)

    x_ticks = tuple(Tick(x(at), f"{at:g}") for at in np.arange(0, last_x + step_x / 2, step_x).tolist())
    y_ticks = tuple(Tick(y(at), f"{at:g}") for at in np.arange(0, last_y + step_y / 2, step_y).tolist())
    return x, y, x_ticks, y_ticks


def _nice(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(step, 1e-9)))
    return float(next(one * power for one in (1, 2, 5, 10) if one * power >= step * (1 - 1e-9)))

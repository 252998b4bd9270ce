"""Charts that lay two sides over each other: each case, how times are spread, and how they went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.compare.comparison import Comparison, Method, Row
from comfysoak_analysis.compare.summary import RunSummary, Sketch, TimeCourse, WorkflowTimes
from comfysoak_analysis.figures.chart import Chart, Series
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import bounded, for_chart
from comfysoak_core.scenario.goals import Unit

COLOURS = ("gpu-0", "p95")  # baseline, new
MOST_WORKFLOWS = 6
POINTS = 101  # of a distribution, 0 to 100 %
STEPS = 120  # of a course over the run
_SCALES = {Unit.RATIO: (100.0, "%"), Unit.BYTES: (1 / 1024**3, "GiB"), Unit.BYTES_PER_HOUR: (1 / 1024**2, "MiB/h")}


def charts(comparison: Comparison) -> tuple[Chart, ...]:
    """All charts there is something for."""
    found = [_cases(comparison, row) for row in comparison.gates if row.baseline and row.new]
    found += _spreads(comparison)
    found += _courses(comparison)
    return tuple(found)


def _cases(comparison: Comparison, row: Row) -> Chart:
    """Each run, or each pair of blocks, by its value."""
    scale, unit = _SCALES.get(row.measure.unit, (1.0, row.measure.unit.value))
    pairs = comparison.method is Method.BLOCKS or comparison.unit_of_cases == "pair"
    starts = (1.0, 1.0) if pairs else (1.0, 1.0 + len(row.baseline))
    series = [
        Series(_name(comparison, side), COLOURS[side], "line", Grid(1.0, len(values)), np.array(values) * scale,
               offset_s=starts[side])
        for side, values in enumerate((row.baseline, row.new))
    ]  # fmt: skip
    if row.limits is not None:
        cases = len(row.baseline) + len(row.new)
        series += [
            Series("limits of the history", "capacity", "limit", Grid(1.0, cases), np.full(cases, limit * scale),
                   offset_s=1.0)
            for limit in row.limits
        ]  # fmt: skip
    what = "pairs of blocks, in order" if pairs else "runs, in the order they were named"
    note = f"One value a {comparison.unit_of_cases}: these are what was compared."
    return Chart(f"case-{row.measure.name}", bounded(row.measure.name, 120), note, unit=unit, series=tuple(series),
                 height=210, across=what)  # fmt: skip


def _name(comparison: Comparison, side: int) -> str:
    return for_chart(comparison.sides[side], 60)


def _spreads(comparison: Comparison) -> Iterator[Chart]:
    sides = (comparison.baseline, comparison.new)
    names = dict.fromkeys(one.name for side in sides for run in side for one in run.workflows)
    kinds: tuple[tuple[str, Callable[[WorkflowTimes], Sketch]], ...] = (
        ("latency", lambda one: one.latency),
        ("service", lambda one: one.service),
    )
    for place, name in enumerate(list(names)[:MOST_WORKFLOWS]):
        for kind, read in kinds:
            sketches = [[read(one) for run in side for one in run.workflows if one.name == name] for side in sides]
            series = [
                _spread(_name(comparison, side), COLOURS[side], known)
                for side, found in enumerate(sketches)
                if (known := [one for one in found if one.count])
            ]
            if series:
                note = "How many prompts took at most so long; the band reaches from the fastest run to the slowest."
                title = f"{'Latency' if kind == 'latency' else 'Service time'} of {bounded(name, 80)}"
                yield Chart(f"spread-{kind}-{place}", title, note, unit="s", series=tuple(series), height=240,
                            across="% of prompts")  # fmt: skip


def _spread(name: str, colour: str, sketches: Sequence[Sketch]) -> Series:
    shares = np.linspace(0, 1, POINTS)
    each = np.array([_at(one, shares) for one in sketches])
    several = len(sketches) > 1
    return Series(
        name,
        colour,
        "line",
        Grid(100 / (POINTS - 1), POINTS),
        pooled(sketches, shares),
        each.min(axis=0) if several else None,
        each.max(axis=0) if several else None,
    )


def _at(sketch: Sketch, shares: Floats) -> Floats:
    known = np.asarray(sketch.quantiles, dtype=float)
    found: Floats = np.interp(shares, np.linspace(0, 1, known.size), known)
    return found


def pooled(sketches: Sequence[Sketch], shares: Floats) -> Floats:
    """The quantiles of all prompts of several runs together: their sketches are merged, never averaged."""
    values = np.concatenate([np.asarray(one.quantiles, dtype=float) for one in sketches])
    weights = np.concatenate([np.full(len(one.quantiles), one.count / len(one.quantiles)) for one in sketches])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) - weights[order] / 2
    span = reached[-1] - reached[0]
    places = (reached - reached[0]) / span if span > 0 else reached * 0.0
    found: Floats = np.interp(shares, places, values[order])
    return found


def _courses(comparison: Comparison) -> Iterator[Chart]:
    sides = (comparison.baseline, comparison.new)
    longest_s = max((run.duration_s for side in sides for run in side), default=0.0)
    if longest_s <= 0:
        return
    unit, unit_s = (
        ("hours", 3600.0) if longest_s > 3 * 3600 else ("minutes", 60.0) if longest_s > 180 else ("seconds", 1.0)
    )
    kinds: tuple[tuple[str, str, str, Callable[[TimeCourse], Sequence[float | None]]], ...] = (
        ("p50", "Latency p50 over the run", "s", lambda course: course.p50),
        ("p95", "Latency p95 over the run", "s", lambda course: course.p95),
        ("rate", "Prompts per minute over the run", "/min", lambda course: course.per_minute),
    )
    for key, title, of, read in kinds:
        if key == "rate" and comparison.unit_of_cases == "pair":
            continue  # each side works half of the time
        series = [
            _course(f"{_name(comparison, side)}", COLOURS[side], known, read, longest_s / STEPS, unit_s)
            for side, runs in enumerate(sides)
            if (known := [run for run in runs if run.course is not None])
        ]
        if series:
            note = "The median over the runs of a side; the band reaches from the least of them to the most."
            yield Chart(f"course-{key}", title, note, unit=of, series=tuple(series), height=230,
                        across=f"{unit} since the start")  # fmt: skip


def _course(
    name: str,
    colour: str,
    runs: Sequence[RunSummary],
    read: Callable[[TimeCourse], Sequence[float | None]],
    step_s: float,
    unit_s: float,
) -> Series:
    moments: Floats = (np.arange(STEPS, dtype=np.float64) + 0.5) * step_s
    each = np.array([_held(run, read, moments) for run in runs])
    known = ~np.isnan(each).all(axis=0)
    middle, low, high = (np.full(STEPS, np.nan) for _ in range(3))
    middle[known] = np.nanmedian(each[:, known], axis=0)
    low[known], high[known] = np.nanmin(each[:, known], axis=0), np.nanmax(each[:, known], axis=0)
    several = len(runs) > 1
    grid = Grid(step_s / unit_s, STEPS)
    return Series(
        name,
        colour,
        "line",
        grid,
        middle,
        low if several else None,
        high if several else None,
        offset_s=grid.width_s / 2,
    )


def _held(run: RunSummary, read: Callable[[TimeCourse], Sequence[float | None]], moments: Floats) -> Floats:
    """The values of a run at those moments; NaN beyond its end and where it has none."""
    assert run.course is not None  # noqa: S101  # the caller looked
    values = np.array([np.nan if value is None else value for value in read(run.course)], dtype=float)
    places = (moments / run.course.step_s).astype(np.int64)
    found = np.full(moments.size, np.nan)
    within = places < values.size
    found[within] = values[places[within]]
    return found

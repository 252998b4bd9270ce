"""One run in a few kilobytes: its measures, how its times are spread, and what it can be compared with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid, InBuckets, counts, places
from comfysoak_analysis.compare.facts import Facts, facts_of
from comfysoak_analysis.compare.gates import Measure, of_workflow, parse_measure
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_analysis.text import bounded
from comfysoak_analysis.validity import doubts
from comfysoak_analysis.verdict import Weight
from comfysoak_core.errors import RecordingError
from comfysoak_core.scenario.goals import MEASURES

SKETCH_POINTS = 129  # quantiles at even steps, both ends included
COURSE_BUCKETS = 120
FEW_FOR_A_BUCKET = 3
MOST_WORKFLOWS = 20
OF_A_WORKFLOW = ("prompts.failed", "prompts.latency.p50", "prompts.latency.p95", "prompts.service.p50")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure by its name, in its base unit, and on how many cases it rests."""

    name: str
    value: float
    samples: int


@dataclass(frozen=True, slots=True)
class Sketch:
    """How a time is spread: quantiles in seconds at even steps from the least to the largest."""

    count: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class WorkflowTimes:
    """The times of one workflow."""

    name: str
    latency: Sketch
    service: Sketch


@dataclass(frozen=True, slots=True)
class TimeCourse:
    """Latency and throughput over the run, in even steps from its start; None where too few prompts ended."""

    step_s: float
    p50: tuple[float | None, ...]
    p95: tuple[float | None, ...]
    per_minute: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """All a comparison needs of one run. `invalid`: why it may not be believed, empty where it may."""

    name: str
    id: str
    started_ns: int
    duration_s: float
    facts: Facts
    figures: tuple[Figure, ...]
    workflows: tuple[WorkflowTimes, ...] = ()
    course: TimeCourse | None = None
    invalid: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure | None:
        """The figure of this name; None where it was not measured."""
        return next((figure for figure in self.figures if figure.name == name), None)


def summarise(run: Run, besides: Iterable[str] = ()) -> RunSummary:
    """The summary of `run`, with the measures `besides`, which may carry filters. RecordingError for a watched one."""
    if run.is_watching:
        raise RecordingError(
            f"{run.path} is a recording of `comfysoak probe`: it has no load, so there is nothing to compare",
            "Name runs of `comfysoak run`.",
        )
    told = run.recording.run
    states = GpuStates(run)
    findings = find_all(run, states)
    found = [doubt for doubt in doubts(run, findings) if doubt.weight is Weight.INVALID]
    return RunSummary(
        name=bounded(told.name, 200),
        id=told.id,
        started_ns=run.start_ns or 0,
        duration_s=run.duration_s,
        facts=facts_of(run),
        figures=tuple(_figures(Evidence(run, findings, states), besides)),
        workflows=tuple(workflow_times(run.prompts)),
        course=course_of(run, run.prompts),
        invalid=tuple(bounded(f"{doubt.what} {doubt.remedy}", 300) for doubt in found),
    )


def _figures(evidence: Evidence, besides: Iterable[str]) -> Iterator[Figure]:
    names = evidence.run.prompts["workflow"].value_counts().index[:MOST_WORKFLOWS]
    wanted = [parse_measure(name) for name in MEASURES]
    if len(names) > 1:
        wanted += [of_workflow(base, str(name)) for name in names for base in OF_A_WORKFLOW]
    wanted += [parse_measure(name) for name in besides]
    for one in {one.name: one for one in wanted}.values():
        found = measure(one.base, replace(evidence, filters=dict(one.filters)))
        if math.isfinite(found.value):
            yield Figure(one.name, float(found.value), int(found.samples))


def workflow_times(prompts: pd.DataFrame) -> Iterator[WorkflowTimes]:
    """How the times of each workflow are spread, the busiest first."""
    timed = prompts[prompts["timed"]]
    for name in timed["workflow"].value_counts().index[:MOST_WORKFLOWS]:
        part = timed[timed["workflow"] == name]
        if len(part):
            yield WorkflowTimes(bounded(name, 120), sketch(part["latency_s"]), sketch(part["service_s"]))


def sketch(values: pd.Series) -> Sketch:
    """The spread of the values that are there."""
    known = values.dropna().to_numpy(dtype=float)
    if not known.size:
        return Sketch(0, ())
    points = np.quantile(known, np.linspace(0, 1, SKETCH_POINTS))
    return Sketch(int(known.size), tuple(_short(point) for point in points))


def course_of(run: Run, prompts: pd.DataFrame) -> TimeCourse | None:
    """How the times of these prompts of a run went; None where nothing was timed."""
    timed = prompts[prompts["timeable"]].dropna(subset=["latency_s", "done_at"])
    if timed.empty or run.duration_s <= 0:
        return None
    wanted = min(max(len(timed) // (2 * FEW_FOR_A_BUCKET), 4), COURSE_BUCKETS)
    grid = Grid.over(run.duration_s, wanted, least_s=1)
    seconds, values = run.since_start_s(timed["done_at"]), timed["latency_s"].to_numpy(dtype=float)
    ended = counts(grid, seconds)
    p50, p95 = InBuckets(grid, places(grid, seconds), values).quantiles((0.5, 0.95))
    few = ended < FEW_FOR_A_BUCKET
    return TimeCourse(
        grid.width_s,
        tuple(None if is_few else _short(value) for value, is_few in zip(p50, few, strict=True)),
        tuple(None if is_few else _short(value) for value, is_few in zip(p95, few, strict=True)),
        tuple(_short(value) for value in ended * 60 / grid.width_s),
    )


def _short(value: float) -> float:
    """Five digits are more than a page shows, and a fraction of the bytes."""
    return float(f"{float(value):.5g}")


def values_of(runs: Sequence[RunSummary], measured: Measure) -> tuple[float, ...]:
    """The values of a measure in those runs that have it."""
    found = (run.figure(measured.name) for run in runs)
    return tuple(figure.value for figure in found if figure is not None)

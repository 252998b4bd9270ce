"""When did it change? Service times that are of another size from one moment on, and told with that moment.

A slow drift is none (LATENCY_DRIFT tells it): one step must fit better than a line. Neither is another load, or a model
that was loaded: each workflow is looked at on each server at the same load, warm with warm.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.correlation.statement import Statement, of_step
from comfysoak_analysis.findings.rising import Series, misfit
from comfysoak_analysis.findings.service_courses import courses
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.change import Change, change
from comfysoak_analysis.statistics.comparison import holm
from comfysoak_analysis.statistics.series import Floats, numbered

SURE_P = 0.01  # for all steps of a run together
LEAST = 0.10  # longer or shorter after it
MOST = 4


def steps(run: Run, states: GpuStates) -> tuple[Statement, ...]:
    """The surest first; nothing of a run of few prompts."""
    tried = list(_tried(run, states))
    ps = holm([found.p for _, _, found in tried])
    told = [
        of_step(subject, run.start + pd.Timedelta(seconds=found.at_s), found, values, p)
        for (subject, values, found), p in zip(tried, ps, strict=True)
        if p <= SURE_P and abs(found.after - found.before) >= np.log1p(LEAST)
    ]
    return tuple(sorted(told, key=lambda one: (one.p, -abs(np.log(one.effect))))[:MOST])


def _tried(run: Run, states: GpuStates) -> Iterator[tuple[str, tuple[Floats, Floats], Change]]:
    """Subject, the values before and after, and the step."""
    for workflow, server, series in courses(run, states):
        seconds, values = _level(series)
        found = change(seconds, values)
        if found is not None:
            sides = values[seconds < found.at_s], values[seconds >= found.at_s]
            if _fits_better_than_a_line(seconds, values, sides):
                yield f"service time of {workflow} on {server}", sides, found


def _level(series: Series) -> tuple[Floats, Floats]:
    """In order of time; each stratum brought to the middle of the largest, so that a change of strata is no step."""
    order = np.argsort(series.seconds, kind="stable")
    seconds, values = series.seconds[order], series.values[order].copy()
    strata = numbered(series.strata or ())[order]
    middle = float(np.median(values[strata == np.argmax(np.bincount(strata))]))
    for stratum in np.unique(strata):
        values[strata == stratum] += middle - np.median(values[strata == stratum])
    return seconds, values


def _fits_better_than_a_line(seconds: Floats, values: Floats, sides: tuple[Floats, Floats]) -> bool:
    left = sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    line, _ = misfit(seconds, values)
    return left < line

"""What each server ran, prompt by prompt in order of time, and which of them had models loaded for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import ModelLoad
from comfysoak_analysis.planning.times import Places, Times
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.routing import models_of

COLUMNS = ("server", "workflow", "outcome", "scheduled", "started_at", "latency_s", "service_s", "queue_wait_s",
           "timed", "timeable")  # fmt: skip
NO_MODELS = "workflow "  # how `models_of` begins the need of a workflow without a model file

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class History:
    """One server's prompts by when they began, shape (n,) each; `need` is that of its workflow, -1 for none.

    `loads` counts the model loads while it ran; `measured` are those that count in percentiles, `usable` those whose
    times mean something at all (a warm-up's, too).
    """

    workflow: Places
    need: Places
    scheduled_s: Floats
    started_s: Floats
    latency_s: Floats
    service_s: Floats
    queue_wait_s: Floats
    measured: Flags
    usable: Flags
    loads: Places

    def times(self, chosen: Flags) -> Times:
        """Of the chosen ones; what was seen beside queue and execution is never less than nothing."""
        around_s = self.latency_s - self.queue_wait_s - self.service_s
        return Times(self.service_s[chosen], np.maximum(np.nan_to_num(around_s[chosen]), 0.0))

    @property
    def handovers_s(self) -> Floats:
        """How long the server did nothing between two prompts, of which the second was waiting."""
        ended_s = self.started_s[:-1] + self.service_s[:-1]
        waiting = self.started_s[1:] - self.queue_wait_s[1:] < ended_s
        gaps_s: Floats = (self.started_s[1:] - ended_s)[waiting]
        return gaps_s[~np.isnan(gaps_s)]


def models_of_run(run: Run) -> dict[str, str]:
    """Of each workflow what it needs to have loaded, as the route by models tells it."""
    workloads = run.plan.workloads if run.plan is not None else ()
    return {one.name: models_of(one.graph, one.name) for one in workloads if one.graph}


def histories(
    run: Run, loads: Sequence[ModelLoad], workflows: Sequence[str], needs: Mapping[str, int]
) -> Iterator[History]:
    """Of each server of a run. `workflows` and `needs` (of a workflow) number them over all runs of a plan."""
    rows = run.prompts[list(COLUMNS)].dropna(subset=["started_at", "service_s", "workflow"])
    numbers = {name: number for number, name in enumerate(workflows)}
    for server, part in rows.groupby("server", observed=True, sort=True):
        history = _history(run, part.sort_values("started_at"), numbers, needs)
        moments = [_middle_s(run, load) for load in loads if load.server == server]
        yield replace(history, loads=_counted(np.array(moments, dtype=float), history.started_s))


def _history(run: Run, rows: pd.DataFrame, numbers: Mapping[str, int], needs: Mapping[str, int]) -> History:
    workflow = pd.Categorical(rows["workflow"])
    names = [str(name) for name in workflow.categories]
    succeeded = (rows["outcome"] == Outcome.SUCCESS.value).to_numpy(dtype=bool)
    return History(
        workflow=np.array([numbers[name] for name in names], dtype=np.int64)[workflow.codes],
        need=np.array([needs[name] for name in names], dtype=np.int64)[workflow.codes],
        scheduled_s=run.since_start_s(rows["scheduled"]),
        started_s=run.since_start_s(rows["started_at"]),
        latency_s=rows["latency_s"].to_numpy(dtype=float),
        service_s=rows["service_s"].to_numpy(dtype=float),
        queue_wait_s=rows["queue_wait_s"].to_numpy(dtype=float),
        measured=succeeded & rows["timed"].to_numpy(dtype=bool),
        usable=succeeded & rows["timeable"].to_numpy(dtype=bool),
        loads=np.zeros(len(rows), dtype=np.int64),
    )


def _middle_s(run: Run, load: ModelLoad) -> float:
    """A moment well within the prompt that a load was for: logs and sockets do not agree to the millisecond."""
    middle = load.started if load.ended is None else load.started + (load.ended - load.started) / 2
    return float(middle.value - run.start.value) / NS_PER_S


def _counted(moments_s: Floats, started_s: Floats) -> Places:
    """How many of the moments lie between the start of each prompt and that of the next."""
    places = np.searchsorted(started_s, moments_s, side="right") - 1
    counts: Places = np.bincount(places[places >= 0], minlength=len(started_s)).astype(np.int64)
    return counts

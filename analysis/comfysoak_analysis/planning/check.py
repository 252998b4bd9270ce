"""The model held against what was measured: the very prompts of a recorded run, sent to as many servers as it had."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.planning.fleet import Fleet, serve
from comfysoak_analysis.planning.measured import Measured
from comfysoak_analysis.planning.model import INTERVAL, resampled
from comfysoak_analysis.planning.wish import Wish
from comfysoak_core.scenario.routing import Route

REPLICATES = 15
FEWEST = 50
GOOD_SHARE = 0.15  # so far may the model be off
SIMULATED = "(simulated)"


@dataclass(frozen=True, slots=True)
class Check:
    """The goal's statistic of one run, measured and as the model tells it (median and 90 % of the replicates)."""

    run: str
    gpus: int
    route: Route
    prompts: int
    measured_s: float
    predicted_s: float
    low_s: float
    high_s: float
    own: bool  # the plan rests on this recording
    simulated: bool  # the servers were embedded ones
    utilisation: float  # of the servers, as the model tells it
    ran_longer: float  # mean time from start to end, measured by predicted: over 1 where servers share something

    @property
    def error(self) -> float:
        """Of the prediction, as a share of what was measured."""
        return self.predicted_s / self.measured_s - 1

    @property
    def is_good(self) -> bool:
        """Whether the model may be believed for as many servers."""
        return abs(self.error) <= GOOD_SHARE


def check(measured: Measured, run: Run, wish: Wish, *, seed: int = 1) -> Check | None:
    """How well the model tells this run; None where its load was not open, or too little of it was measured.

    In closed load the prompts come when others have ended: nothing else decides when, and nothing is told by it.
    """
    plan = run.plan
    if plan is None or not any(stage.is_open for stage in plan.stages) or any(stage.users for stage in plan.stages):
        return None
    numbers = {name: number for number, name in enumerate(measured.names)}
    rows = run.prompts[["scheduled", "workflow", "server", "timed", "intended", "latency_s", "queue_wait_s"]]
    rows = rows[rows["intended"].to_numpy(dtype=bool) & rows["workflow"].isin(measured.names).to_numpy()]
    rows = rows.sort_values("scheduled")
    counted = rows["timed"].to_numpy(dtype=bool)
    if wish.workflow is not None:
        counted = counted & (rows["workflow"] == wish.workflow).to_numpy(dtype=bool)
    seconds = rows[f"{wish.time}_s"].to_numpy(dtype=float)[counted]
    found = wish.of(seconds[~np.isnan(seconds)])
    if int(counted.sum()) < FEWEST or not found > 0:
        return None
    kinds = np.array([numbers[str(name)] for name in rows["workflow"]], dtype=np.int64)
    fleet = Fleet(plan.servers_count, plan.route, measured.room.memory, measured.handover_s, plan.servers)
    due_s, values, busy, ran_s = run.since_start_s(rows["scheduled"]), [], [], []
    counts = np.bincount(kinds, minlength=len(numbers)).tolist()
    for replicate in range(REPLICATES):
        numbers_of = np.random.default_rng((seed, replicate))
        of = [resampled(kind, count, numbers_of) for kind, count in zip(measured.kinds, counts, strict=True)]
        served = serve(due_s, kinds, fleet, of)
        values.append(wish.of_served(served, counted))
        busy.append(served.utilisation)
        ran_s.append(float((served.latency_s - served.wait_s)[counted].mean()))
    low, middle, high = np.quantile(values, (INTERVAL[0], 0.5, INTERVAL[1])).tolist()
    own = any(source.run.path.resolve() == run.path.resolve() for source in measured.sources)
    return Check(
        run.recording.run.name, plan.servers_count, plan.route, int(counted.sum()), found, middle, low, high,
        own, _is_simulated(run), float(np.mean(busy)), _ran_s(rows[counted]) / float(np.mean(ran_s)),
    )  # fmt: skip


def _ran_s(rows: pd.DataFrame) -> float:
    """The mean of all that is not queue."""
    return float((rows["latency_s"] - rows["queue_wait_s"]).mean())


def _is_simulated(run: Run) -> bool:
    """Whether the servers were simulators, which say so of themselves."""
    embedded = run.plan is not None and run.plan.embedded is not None
    return embedded or any(SIMULATED in (server.python_version or "") for server in run.recording.run.servers)

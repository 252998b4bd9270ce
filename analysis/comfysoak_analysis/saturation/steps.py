"""The steps of load of a run: stretches with so many users, or so many prompts due a second, and what came of each.

Steps are cut by what was, not by what was planned: stages of constant load, trials of a search and ramps alike. Of a
closed load the number of users is the load; of an open one the number of prompts at the target (Little's law).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.frames import Run
from comfysoak_analysis.prompts import NOT_MEASURED_PHASES
from comfysoak_analysis.statistics.series import Flags, Floats
from comfysoak_analysis.workers import users_over_time
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Outcome

LEAST_S, LEAST_PROMPTS = 10.0, 20  # of a step
APART = 1.2  # steps whose loads are nearer than that, as a ratio, are one
MOST_STEPS = 16
SLICES = 12  # that a phase of changing arrivals is cut into


@dataclass(frozen=True, slots=True)
class Step:
    """One step: `load` is users (closed), or prompts at the target on average (open, `offered_per_s` due a second).

    `succeeded` has the successes of each second of it.
    """

    load: float
    offered_per_s: float | None
    succeeded: Floats
    p50_s: float
    p95_s: float

    @property
    def held_s(self) -> float:
        """How long it was held, in all."""
        return float(self.succeeded.size)

    @property
    def per_s(self) -> float:
        """Throughput: successes a second."""
        return float(self.succeeded.mean())


def load_steps(run: Run) -> tuple[Step, ...]:
    """From the lowest load to the highest; empty where there is one load only."""
    if run.prompts.empty or run.duration_s < 2 * LEAST_S:
        return ()
    seconds = int(np.ceil(run.duration_s)) + 1
    labels, loads = _closed(run, seconds) if _is_closed(run) else _open(run, seconds)
    if len(loads) < 2:
        return ()
    done = _Done.of(run, seconds)
    found = [step for number, load in enumerate(loads) if (step := _step(done, labels == number, load)) is not None]
    return tuple(sorted(found, key=lambda step: step.load))


def _is_closed(run: Run) -> bool:
    """Whether users sent the prompts, and no clock."""
    if run.plan is not None:
        return not any(stage.is_open for stage in run.plan.stages)
    return run.extent("generator").rows > 0


def _loaded(run: Run, seconds: int) -> Flags:
    """The seconds of phases that are measured."""
    inside = np.full(seconds, fill_value=not run.phases)
    for phase in run.phases:
        first, last = ((edge - (run.start_ns or 0)) / NS_PER_S for edge in (phase.started_ns, phase.ended_ns))
        if phase.name not in NOT_MEASURED_PHASES:
            inside[max(int(np.ceil(first)), 0) : max(int(last), 0)] = True
    return inside


def _closed(run: Run, seconds: int) -> tuple[Floats, list[tuple[float, float | None]]]:
    """For each second the number of its step (-1: none), and the load of each step."""
    users = np.full(seconds, np.nan)
    told = users_over_time(run)
    at = run.since_start_s(told.index.to_series())
    inside = (at >= 0) & (at < seconds - 1)
    users[np.round(at[inside]).astype(np.int64)] = told.to_numpy(dtype=float)[inside]
    users[~_loaded(run, seconds)] = np.nan
    levels, held_s = np.unique(users[users > 0], return_counts=True)
    labels: Floats = np.full(seconds, -1.0)
    loads: list[tuple[float, float | None]] = []
    for number, (low, high) in enumerate(_merged(levels, held_s)):
        chosen = (users >= low) & (users <= high)
        labels[chosen] = number
        loads.append((float(users[chosen].mean()), None))
    return labels, loads


def _merged(levels: Floats, held_s: np.ndarray) -> list[tuple[float, float]]:
    """Lowest and highest level of each step: neighbours are one until they were held for long enough together."""
    if not levels.size:
        return []
    apart = max(APART, (levels[-1] / levels[0]) ** (1 / MOST_STEPS))
    steps: list[tuple[float, float]] = []
    begun, so_far_s = float(levels[0]), 0.0
    for place, level in enumerate(levels):
        so_far_s += float(held_s[place])
        following = float(levels[place + 1]) if place + 1 < levels.size else np.inf
        if so_far_s >= LEAST_S and following >= apart * begun:
            steps.append((begun, float(level)))
            begun, so_far_s = following, 0.0
    return steps


def _open(run: Run, seconds: int) -> tuple[Floats, list[tuple[float, float | None]]]:
    """As `_closed`: each phase of constant arrivals is a step, one of others is cut into slices."""
    labels: Floats = np.full(seconds, -1.0)
    loads: list[tuple[float, float | None]] = []
    prompts = run.prompts
    due = run.since_start_s(prompts["scheduled"])
    stays_s = np.nan_to_num(prompts["latency_s"].to_numpy(dtype=float))
    loaded = _loaded(run, seconds)
    for phase in run.phases:
        first, last = (int((edge - (run.start_ns or 0)) / NS_PER_S) for edge in (phase.started_ns, phase.ended_ns))
        edges = np.linspace(first, last, 1 + _slices(run, phase.name)).astype(int)
        for low, high in itertools.pairwise(edges.tolist()):
            if high - low < LEAST_S or not loaded[low + 1 : high].any():
                continue
            there = np.clip(np.minimum(due + stays_s, high) - np.maximum(due, low), 0, None).sum() / (high - low)
            offered = float(((due >= low) & (due < high)).sum()) / (high - low)
            labels[low:high] = len(loads)
            loads.append((float(there), offered))
    return labels, loads


def _slices(run: Run, phase: str) -> int:
    """1 where prompts were due at one rate all along."""
    stages = [stage for stage in (run.plan.stages if run.plan is not None else ()) if stage.phase == phase]
    if not stages:
        return 1  # a trial of a search
    rates = {rate for stage in stages if stage.arrivals for rate in _ends(stage.arrivals.rate_per_s)}
    return 1 if len(rates) == 1 and not any(stage.replay for stage in stages) else SLICES


def _ends(curve: object) -> tuple[float, float]:
    start, end = getattr(curve, "start", None), getattr(curve, "end", None)
    return (start, end) if start is not None and end is not None else (0.0, 1.0)  # waves and spikes never stand still


@dataclass(frozen=True, slots=True)
class _Done:
    """Prompts that have ended: in which second, how long after they were due, and whether well."""

    second: np.ndarray
    latency_s: Floats
    succeeded: Floats  # by second

    @classmethod
    def of(cls, run: Run, seconds: int) -> _Done:
        prompts = run.prompts
        at = run.since_start_s(prompts["done_at"])
        inside = prompts["timeable"].to_numpy(dtype=bool) & np.isfinite(at) & (at >= 0) & (at < seconds)
        second = at[inside].astype(np.int64)
        well = ((prompts["outcome"] == Outcome.SUCCESS.value) & prompts["ok"]).to_numpy(dtype=bool)[inside]
        succeeded = np.bincount(second[well], minlength=seconds).astype(float)
        return cls(second, prompts["latency_s"].to_numpy(dtype=float)[inside], succeeded)


def _step(done: _Done, chosen: Flags, load: tuple[float, float | None]) -> Step | None:
    """None where too little was seen of it."""
    latencies = done.latency_s[chosen[done.second]]
    succeeded = done.succeeded[chosen]
    if succeeded.size < LEAST_S or succeeded.sum() < LEAST_PROMPTS or load[0] <= 0:
        return None
    p50, p95 = (float(one) for one in np.nanquantile(latencies, (0.5, 0.95)))
    return Step(load[0], load[1], succeeded, p50, p95)

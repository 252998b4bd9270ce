"""Steady state: what is cut off of runs that were warm from the start, of those that were not, and what that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from benchmarks.figure import Figure
from benchmarks.known_truth.queues import Played, closed, opened
from benchmarks.known_truth.rates import FEWEST, Rate, tally
from benchmarks.known_truth.series import day_and_night, remembering, sawtooth
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.statistics.steady import steady_from
from comfysoak_analysis.steady_state import steady_state
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage

CASES = 200
SLOW_SHARE, SLOWER = 0.15, 0.5  # the start of a run that warms up
BIAS_LEFT = 0.1  # statistics.md: 0.80 s -> 0.06 s
_LEVEL = 10.0  # of series whose noise is 1: 5 standard deviations are half of it
_PLAN = Plan(name="steady", workloads=(), stages=(Stage(duration_s=1.0, users=Line.level(4.0)),))

Draw = Callable[[np.random.Generator], Floats]
Said = Literal["steady", "cut", "never"]


def rates(share: float) -> Iterator[Rate | Figure]:
    """Cut off of what was warm; warm-ups found; drifts; simulated runs."""
    for name, draw in _CLEAN:
        told = tally(f"warm-up {name}", CASES * share, draw, _said)
        yield Rate(f"warm-up, false: {name}", told["cut"], told.total())
        yield Rate(f"no steady state, false: {name}", told["never"], told.total())
    for size, by in _NOISES:
        name = f"warm-up, found: {size} points, AR(1) {by:g}"
        told = tally(name, CASES * share, partial(_warming_up, size=size, by=by), _said)
        yield Rate(name, told["cut"], told.total())
    for name, by in (("noise of a third of it", 0.0), ("AR(1) 0.7 of a third of it", 0.7)):
        told = tally(f"drift {name}", CASES * share, partial(_drifting, by=by), _said)
        yield Rate(f"no steady state, found: 30 % drift in {name}", told["never"], told.total())
    yield _bias(max(round(CASES * share), FEWEST))
    for name, play in _RUNS:
        for size in (300, 600):
            told = tally(f"{name} {size}", CASES * share, partial(play, size=size), _of_a_run)
            yield Rate(f"warm-up, false: {size} prompts, {name}", told["cut"] + told["never"], told.total())


def _level(drawn: np.random.Generator, size: int, by: float) -> Floats:
    return _LEVEL + remembering(drawn, size, by)


def _warming_up(drawn: np.random.Generator, size: int, by: float) -> Floats:
    return _level(drawn, size, by) + SLOWER * _LEVEL * (np.arange(size) < SLOW_SHARE * size)


def _drifting(drawn: np.random.Generator, by: float) -> Floats:
    return _level(drawn, 300, by) + np.linspace(0, 3, 300)


_NOISES = tuple((size, by) for size in (300, 60) for by in (0.0, 0.7, 0.9))
_CLEAN: tuple[tuple[str, Draw], ...] = (
    *((f"{size} points, AR(1) {by:g}", partial(_level, size=size, by=by)) for size, by in _NOISES),
    ("300 points, freak values in AR(1) 0.7", lambda drawn: _LEVEL + remembering(drawn, 300, 0.7, freaks=True)),
    ("300 points, sawtooth", lambda drawn: _LEVEL + 3 * sawtooth(drawn, 300, 12)),
    ("300 points, 3 days and nights",
     lambda drawn: _LEVEL + 1.4 * day_and_night(drawn, 300, 3) + 0.5 * drawn.standard_normal(300)),
)  # fmt: skip
_RUNS: tuple[tuple[str, Callable[..., Played]], ...] = (
    ("4 users, speed wanders", partial(closed, users=4, workflows_s=(1.0,), think_s=2.0, wander=0.05)),
    ("8 users, a workflow of 10 times", partial(closed, users=8, workflows_s=(1.0, 10.0), think_s=3.0, wander=0.0)),
    ("open, 50 % busy", partial(opened, busy=0.5, workflows_s=(1.0,))),
    ("open, 80 % busy, mixed", partial(opened, busy=0.8, workflows_s=(1.0, 4.0))),
    ("open, 90 % busy", partial(opened, busy=0.9, workflows_s=(1.0,))),
)


def _said(values: Floats) -> Said:
    found = steady_from(np.arange(values.size) * 10.0, values)
    if found is None or not found.is_steady:
        return "never"
    return "cut" if found.from_s > 0 else "steady"


def _bias(cases: int) -> Figure:
    """How much of the error of the mean is left once the warm-up is left out: of one that dies away slowly."""
    whole, cut = [], []
    for number in range(cases):
        drawn = np.random.default_rng([7, number])
        values = _LEVEL + 8 * np.exp(-np.arange(300) / 30) + remembering(drawn, 300, 0.7)
        found = steady_from(np.arange(300.0), values)
        whole.append(values.mean() - _LEVEL)
        cut.append(values[int(found.from_s) if found is not None and found.is_steady else 0 :].mean() - _LEVEL)
    left = float(np.mean(cut) / np.mean(whole))
    return Figure("warm-up: bias of the mean that a cut leaves", 100 * left, "%", f"at most {100 * BIAS_LEFT:g} %",
                  left <= BIAS_LEFT, spread=f"{np.mean(whole):.2f} to {np.mean(cut):.2f}", runs=cases)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Phase:
    name: str
    started_ns: int
    ended_ns: int


def _of_a_run(played: Played) -> Said:
    """What a report says of such a run, that ends when its last prompt is due."""
    lasts_s = float(played.due_s[-1])
    ended = played.done_s <= lasts_s
    prompts = pd.DataFrame({
        "phase": "load", "timeable": ended, "intended": True, "ok": True,
        "workflow": played.workflow.astype(str), "latency_s": np.where(ended, played.done_s - played.due_s, np.nan),
        "scheduled": (played.due_s * NS_PER_S).astype("datetime64[ns]"),
        "done_at": (played.done_s * NS_PER_S).astype("datetime64[ns]"),
    })  # fmt: skip
    found = steady_state(prompts, [_Phase("load", 0, round(lasts_s * NS_PER_S))], _PLAN)
    if found is None or (found.is_steady and found.warm_ns is None):
        return "steady"
    return "cut" if found.is_steady else "never"

"""Goals against a run: each measure computed, each goal met, missed, or honestly undecided.

A goal on a share of prompts, or on a percentile (which is one: `p95 < 30 s` says that less than 5 % took 30 s or
more), is decided by exact binomial bounds: too few prompts are no proof of anything. Maxima, rates, counts and GPU
figures state what was seen in this run, and are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.binomial import Answer, Side, side_of
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import Spread, gpus, measured_s, sockets, spread, whole
from comfysoak_analysis.prompts import judged
from comfysoak_analysis.verdict import GoalResult, Standing
from comfysoak_core.codes import Severity
from comfysoak_core.scenario.goals import DEFAULT_GOALS, Goal, parse_goal
from comfysoak_core.scenario.stage import ARRIVALS, USERS

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
_FORESEEN = {Side.BELOW: Standing.MET, Side.ABOVE: Standing.MISSED, Side.UNKNOWN: Standing.UNDECIDED}


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with how many cases it rests on; `cases_over` counts those at or over the limit, for shares."""

    value: float  # NaN: nothing to measure
    samples: int
    nothing: str = "no prompt was measured"  # why there is none


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that goals are computed from."""

    run: Run
    findings: Sequence[Finding]


def goals_of(run: Run) -> tuple[str, ...]:
    """The goals of the run's plan, or those that hold when it names none."""
    return (run.plan.goals if run.plan is not None else ()) or DEFAULT_GOALS


def evaluate(run: Run, findings: Sequence[Finding], goals: Sequence[str] | None = None) -> tuple[GoalResult, ...]:
    """Each goal with its value and standing, in order; those of the scenario where none are named."""
    evidence = Evidence(run, findings)
    return tuple(_evaluate(text, evidence) for text in (goals_of(run) if goals is None else goals))


def _evaluate(text: str, evidence: Evidence) -> GoalResult:
    try:
        goal = parse_goal(text)
    except ValueError as error:
        return GoalResult(text, text, Standing.UNDECIDED, None, math.nan, "", "—", "—", 0, f"cannot be read: {error}")
    measured = measure(goal.measure, evidence)
    if math.isnan(measured.value):
        return _result(goal, measured, Standing.UNDECIDED, measured.nothing)
    if goal.comparison in {"<", "<="}:
        bounded = _bounded(goal, evidence)
        if bounded is not None:
            return _result(goal, measured, _FORESEEN[bounded.side], _too_few(bounded, measured.samples))
    return _result(goal, measured, Standing.MET if goal.holds(measured.value) else Standing.MISSED)


def _result(goal: Goal, measured: Measured, standing: Standing, reason: str = "") -> GoalResult:
    known = not math.isnan(measured.value)
    return GoalResult(
        text=goal.text,
        measure=goal.measure,
        standing=standing,
        value=measured.value if known else None,
        limit=goal.value,
        unit=goal.unit.value,
        value_text=goal.unit.show(measured.value) if known else "—",
        limit_text=f"{_SIGNS[goal.comparison]} {goal.unit.show(goal.value)}",
        samples=measured.samples,
        reason=reason,
    )


_SIGNS = {"<": "<", "<=": "≤", ">": ">", ">=": "≥", "=": "="}


def _too_few(answer: Answer, cases: int) -> str:
    if answer.side is not Side.UNKNOWN:
        return ""
    if answer.more_cases is None:
        return f"too close to the limit to tell with {cases:,} prompts"
    were = "was" if cases == 1 else "were"
    return f"too few prompts to tell: {cases:,} {were} measured, about {answer.more_cases:,} more would"


def _bounded(goal: Goal, evidence: Evidence) -> Answer | None:
    """For shares of prompts and percentiles: the side of the limit by exact bounds; None for other measures."""
    if goal.measure in {"prompts.failed", "prompts.cached"}:
        hits, cases = _SHARES[goal.measure](evidence.run)
        return side_of(hits, cases, goal.value)
    parts = goal.measure.split(".")
    if len(parts) == 3 and parts[0] == "prompts" and parts[2] in _PERCENTILES:
        values = _times(evidence.run, parts[1]).dropna().to_numpy(dtype=float)
        over = values >= goal.value if goal.comparison == "<" else values > goal.value
        return side_of(int(np.count_nonzero(over)), int(values.size), 1 - _PERCENTILES[parts[2]])
    return None


def measure(name: str, evidence: Evidence) -> Measured:
    """The value of measure `name` in its base unit; NaN with the reason where there is nothing to measure."""
    family, _, rest = name.partition(".")
    if family == "failures":
        return _failures(rest, evidence)
    if family == "prompts" and rest.count(".") == 1:
        time, statistic = rest.split(".")
        found: Spread = spread(_times(evidence.run, time))
        return Measured(float(getattr(found, statistic)), found.count, "no measured prompt came to a timed end")
    return _MEASURES[name](evidence)


def _times(run: Run, time: str) -> pd.Series:
    times: pd.Series = run.prompts.loc[run.prompts["timed"], f"{time}_s"]
    return times


def _failed(run: Run) -> tuple[int, int]:
    counted = judged(run.prompts)
    return int((~counted["ok"]).sum()), len(counted)


def _cached(run: Run) -> tuple[int, int]:
    chosen = run.prompts[run.prompts["measured"]]
    return int((~chosen["work"]).sum()), len(chosen)


_SHARES: dict[str, Callable[[Run], tuple[int, int]]] = {"prompts.failed": _failed, "prompts.cached": _cached}


def _share(name: str) -> Callable[[Evidence], Measured]:
    def measured(evidence: Evidence) -> Measured:
        hits, cases = _SHARES[name](evidence.run)
        return Measured(hits / cases if cases else math.nan, cases)

    return measured


def _failures(code: str, evidence: Evidence) -> Measured:
    """How often a code was found; zero is an answer."""
    count = sum(finding.count for finding in evidence.findings if finding.code.value == code)
    return Measured(float(count), len(evidence.run.prompts))


def _weighing(severity: Severity) -> Callable[[Evidence], Measured]:
    def measured(evidence: Evidence) -> Measured:
        count = sum(finding.severity is severity for finding in evidence.findings)
        return Measured(float(count), len(evidence.findings))

    return measured


def _count(evidence: Evidence) -> Measured:
    count = int((evidence.run.prompts["measured"] & evidence.run.prompts["work"]).sum())
    return Measured(float(count), count)


def _per_minute(evidence: Evidence) -> Measured:
    found = whole(evidence.run)
    return Measured(found.per_minute if measured_s(evidence.run.prompts) > 0 else math.nan, found.succeeded)


def _dropped(evidence: Evidence) -> Measured:
    found = sockets(evidence.run)
    return Measured(found.dropped_share, found.opened, "no socket was opened")


def _drops(evidence: Evidence) -> Measured:
    found = sockets(evidence.run)
    return Measured(float(found.dropped) if found.opened else math.nan, found.opened, "no socket was opened")


def _drops_per_hour(evidence: Evidence) -> Measured:
    found = sockets(evidence.run)
    return Measured(found.drops_per_hour, found.opened, "no socket was opened")


def _queue_max(evidence: Evidence) -> Measured:
    rows = evidence.run.server
    waiting = (rows["queue_running"] + rows["queue_pending"]).dropna()
    return Measured(float(waiting.max()), len(waiting), "the queue was never read")


def _answer_p99(evidence: Evidence) -> Measured:
    """Of each reading the slower answer: a loop that was blocked holds up the one that is asked first."""
    found = spread(evidence.run.server[["canary_answer_s", "queue_answer_s"]].max(axis=1))
    return Measured(found.p99, found.count, "the queue was never read")


_NO_GPU = "no GPU was watched"


def _memory_max(evidence: Evidence) -> Measured:
    found = [gpu.memory_max_bytes for gpu in gpus(evidence.run) if not math.isnan(gpu.memory_max_bytes)]
    return Measured(max(found, default=math.nan), _fresh_samples(evidence.run), _NO_GPU)


def _fresh_samples(run: Run) -> int:
    """Of all GPUs; what an exporter only repeats is none."""
    return sum(gpu.samples for gpu in gpus(run))


def _memory_max_share(evidence: Evidence) -> Measured:
    found = [gpu.memory_max_share for gpu in gpus(evidence.run) if not math.isnan(gpu.memory_max_share)]
    return Measured(max(found, default=math.nan), _fresh_samples(evidence.run), _NO_GPU)


def _utilisation_mean(evidence: Evidence) -> Measured:
    means = [gpu.utilisation_mean for gpu in gpus(evidence.run) if not math.isnan(gpu.utilisation_mean)]
    samples = sum(gpu.samples for gpu in gpus(evidence.run) if not math.isnan(gpu.utilisation_mean))
    return Measured(sum(means) / len(means) if means else math.nan, samples, "no utilisation was read")


def _capacity(unit: str) -> Callable[[Evidence], Measured]:
    """The highest load that held; none at all is zero, and no search is no answer."""

    def measured(evidence: Evidence) -> Measured:
        found = [capacity for capacity in evidence.run.capacities if capacity.unit == unit]
        if not found:
            return Measured(math.nan, 0, "no search for it was run")
        highest = min(capacity.found.highest_held or 0.0 for capacity in found)
        return Measured(highest * (60 if unit == ARRIVALS else 1), sum(len(capacity.trials) for capacity in found))

    return measured


_MEASURES: dict[str, Callable[[Evidence], Measured]] = {
    "prompts.count": _count,
    "prompts.failed": _share("prompts.failed"),
    "prompts.cached": _share("prompts.cached"),
    "prompts.per_minute": _per_minute,
    "sessions.dropped": _dropped,
    "sessions.drops": _drops,
    "sessions.drops_per_hour": _drops_per_hour,
    "server.queue.max": _queue_max,
    "server.answer.p99": _answer_p99,
    "gpu.memory.max": _memory_max,
    "gpu.memory.max_share": _memory_max_share,
    "gpu.utilisation.mean": _utilisation_mean,
    "capacity.users": _capacity(USERS),
    "capacity.per_minute": _capacity(ARRIVALS),
    "findings.critical": _weighing(Severity.CRITICAL),
    "findings.warning": _weighing(Severity.WARNING),
}

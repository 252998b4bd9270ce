"""Goals against a run: each measure computed, each goal met, missed, or honestly undecided.

A goal on a share of prompts, or on a percentile (which is one: `p95 < 30 s` says that less than 5 % took 30 s or
more), is decided by exact binomial bounds, a goal on a rate of failures or on a leak by its interval: too little is no
proof of anything. Prompts that were slow one after the other count for fewer than they are. Maxima, counts, throughput
and GPU figures state what was seen in this run, and are compared as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from comfysoak_analysis.binomial import UNLIKELY, Answer, Side, side_of
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, Measured, measure, share_of, times_of
from comfysoak_analysis.statistics.series import cases_alike
from comfysoak_analysis.verdict import GoalResult, Standing
from comfysoak_core.scenario.goals import DEFAULT_GOALS, By, Goal, parse_goal, unknown_names

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
SURELY_TOGETHER = 0.8  # of the prompts count: fewer is told
_FORESEEN = {Side.BELOW: Standing.MET, Side.ABOVE: Standing.MISSED, Side.UNKNOWN: Standing.UNDECIDED}


def goals_of(run: Run) -> tuple[str, ...]:
    """The goals of the run's plan, or those that hold when it names none."""
    return (run.plan.goals if run.plan is not None else ()) or DEFAULT_GOALS


def evaluate(
    run: Run,
    findings: Sequence[Finding],
    goals: Sequence[str] | None = None,
    states: GpuStates | None = None,
    *,
    unlikely: float = UNLIKELY,
) -> tuple[GoalResult, ...]:
    """Each goal with its value and standing, in order; those of the scenario where none are named.

    `unlikely`: how rarely data like these may come of a share on the other side of the limit.
    """
    evidence = Evidence(run, findings, states, unlikely=unlikely)
    return tuple(_evaluate(text, evidence, unlikely) for text in (goals_of(run) if goals is None else goals))


def _evaluate(text: str, of_all: Evidence, unlikely: float) -> GoalResult:
    try:
        goal = parse_goal(text)
    except ValueError as error:
        return GoalResult(text, text, Standing.UNDECIDED, None, math.nan, "", "—", "—", 0, f"cannot be read: {error}")
    evidence = replace(of_all, filters=dict(goal.filters)) if goal.filters else of_all
    measured = measure(goal.measure, evidence)
    if math.isnan(measured.value):
        return _result(goal, measured, Standing.UNDECIDED, _nothing(goal, measured, evidence))
    if not math.isnan(measured.high):
        return _by_interval(goal, measured)
    if goal.comparison in {"<", "<="}:
        bounded = _bounded(goal, evidence, unlikely)
        if bounded is not None:
            return _result(goal, measured, _FORESEEN[bounded.side], _too_few(bounded, measured.samples))
    return _result(goal, measured, Standing.MET if goal.holds(measured.value) else Standing.MISSED)


def _nothing(goal: Goal, measured: Measured, evidence: Evidence) -> str:
    """Why there is no value: perhaps since a filter names what never was."""
    prompts, sessions = evidence.run.prompts, evidence.run.sessions
    there = {
        by: {str(name) for name in rows[by.value].dropna().unique()}
        for by, rows in ((By.WORKFLOW, prompts), (By.PHASE, prompts), (By.SERVER, prompts), (By.ROLE, sessions))
    }
    there[By.GPU] = {name for gpu in replace(evidence, filters={}).gpus for name in (gpu.uuid, str(gpu.index))}
    return unknown_names(goal, there) or measured.nothing


def _by_interval(goal: Goal, measured: Measured) -> GoalResult:
    """Both ends of the interval on one side of the limit, or nobody can tell."""
    ends = (goal.holds(measured.low), goal.holds(measured.high))
    if all(ends):
        return _result(goal, measured, Standing.MET)
    within = measured.low <= goal.value <= measured.high
    if not any(ends) and not (goal.comparison == "=" and within):
        return _result(goal, measured, Standing.MISSED)
    low, high = (goal.unit.show(end) for end in (measured.low, measured.high))
    reason = f"too little to tell: it lies between {low} and {high}; a longer run would"
    return _result(goal, measured, Standing.UNDECIDED, reason)


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
    together = f" (slow ones came together: they count as {answer.independent:,.0f})"
    counted = together if answer.independent < SURELY_TOGETHER * cases else ""
    if answer.more_cases is None:
        return f"too close to the limit to tell with {cases:,} prompts{counted}"
    were = "was" if cases == 1 else "were"
    return f"too few prompts to tell: {cases:,} {were} measured, about {answer.more_cases:,} more would{counted}"


def _bounded(goal: Goal, evidence: Evidence, unlikely: float) -> Answer | None:
    """For shares of prompts and percentiles: the side of the limit by exact bounds; None for other measures."""
    if goal.measure in {"prompts.failed", "prompts.cached"}:
        return side_of(*share_of(goal.measure, evidence), goal.value, unlikely)
    parts = goal.measure.split(".")
    if len(parts) == 3 and parts[0] == "prompts" and parts[2] in _PERCENTILES:
        values = times_of(evidence, parts[1]).dropna().to_numpy(dtype=float)
        over = values >= goal.value if goal.comparison == "<" else values > goal.value
        share = 1 - _PERCENTILES[parts[2]]
        return side_of(int(np.count_nonzero(over)), int(values.size), share, unlikely, cases_alike(over))
    return None

"""The goal of a plan: a statistic of latency or queue wait, perhaps of one workflow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.planning.fleet import Served
from comfysoak_analysis.planning.history import Flags
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.goals import By, Goal, parse_goal

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
LATENCY, QUEUE_WAIT = "latency", "queue_wait"
_EXAMPLE = 'A plan is made for a goal such as "prompts.latency.p95 < 30s" or "prompts.queue_wait.p50 < 5s".'


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to hold: `statistic` ("p95", "mean", ...) of `time` ("latency" or "queue_wait"), in seconds."""

    goal: Goal
    time: str
    statistic: str
    workflow: str | None = None

    @property
    def limit_s(self) -> float:
        """The value the goal names."""
        return self.goal.value

    def holds(self, value_s: float) -> bool:
        """Whether the statistic meets the goal; one of nothing does not."""
        return self.goal.holds(value_s)

    def of(self, seconds: Floats) -> float:
        """The statistic; NaN of nothing."""
        if not len(seconds):
            return float("nan")
        return float(seconds.mean() if self.statistic == "mean" else np.quantile(seconds, SHARES[self.statistic]))

    def of_served(self, served: Served, counted: Flags) -> float:
        """The statistic of what became of the counted prompts."""
        return self.of((served.latency_s if self.time == LATENCY else served.wait_s)[counted])


def read_wish(text: str, workflows: Collection[str]) -> Wish:
    """The goal `text` states; UsageError where it is none that a plan can be made for."""
    try:
        goal = parse_goal(text)
    except ValueError as error:
        raise UsageError(str(error), _EXAMPLE) from None
    parts = goal.measure.split(".")
    known = len(parts) == 3 and parts[0] == "prompts" and parts[1] in {LATENCY, QUEUE_WAIT}
    if not known or parts[2] not in {*SHARES, "mean"} or goal.comparison not in {"<", "<="}:
        more = " A maximum grows with the time one waits for it: name p99." if goal.measure.endswith(".max") else ""
        raise UsageError(f"no plan can be made for {goal.text!r}", _EXAMPLE + more)
    filters = dict(goal.filters)
    workflow = filters.pop(By.WORKFLOW, None)
    if filters or (workflow is not None and workflow not in workflows):
        what = f"the goal {goal.text!r} asks for what the plan does not have"
        raise UsageError(what, f"It can be narrowed to a measured workflow: {', '.join(workflows)}.")
    return Wish(goal, parts[1], parts[2], workflow)


def is_wish(text: str) -> bool:
    """Whether a plan can be made for the goal `text`, whichever workflow it names."""
    try:
        workflow = dict(parse_goal(text).filters).get(By.WORKFLOW)
        read_wish(text, {workflow} if workflow else set())
    except (ValueError, UsageError):
        return False
    return True

"""The stages of a scenario as a Locust shape: ramps and holds, one after the other, then a graceful end."""

from __future__ import annotations

import os
from pathlib import Path

from locust import LoadTestShape

from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE, Layout
from comfysoak_load.harness import Harness, harness_of

DRAIN_MOST_S = 300.0  # what was sent ends by itself or at its deadline; only a longer deadline is cut short
USERS_PER_S = 100.0  # at most so many begin in a second and a process: opening a socket is work for the server too


def has_plan() -> bool:
    """Whether this process runs under a scenario: then its stages decide, and not Locust's -u, -r and -t."""
    directory = os.environ.get(RUN_DIRECTORY_VARIABLE, "")
    return bool(directory) and Layout(Path(directory)).run_json.is_file()


class PlanShape(LoadTestShape):  # type: ignore[misc]  # Locust is not typed here
    """Follows the plan's stages; watchers are held beside the users all the time."""

    abstract = True

    def __init__(self) -> None:
        super().__init__()
        self._stage = -1
        self._target: tuple[int, float] = (0, 1.0)

    def reset_time(self) -> None:
        """A new test begins."""
        super().reset_time()
        self._stage = -1
        self._target = (0, 1.0)

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now, and how fast to get there; None at the end."""
        harness = harness_of(self.runner.environment)
        plan, elapsed_s = harness.plan, self.get_run_time()
        found = plan.stage_at(elapsed_s)
        if found is None:
            return self._drain(harness, elapsed_s - plan.duration_s)
        stage, since_s = found
        number = plan.stages.index(stage)
        if number != self._stage:
            self._stage = number
            harness.enter(number, since_s)
        return self._towards(stage.users_at(since_s) + plan.watchers)

    def _drain(self, harness: Harness, since_s: float) -> tuple[int, float] | None:
        """All stages are over: users leave after their open prompts, then the test ends."""
        patience_s = min(max(workload.deadline_s for workload in harness.plan.workloads), DRAIN_MOST_S)
        if since_s >= patience_s or (self._target[0] == harness.plan.watchers and harness.in_flight == 0):
            return None
        return self._towards(harness.plan.watchers)

    def _towards(self, users: int) -> tuple[int, float]:
        """The same answer for the same number: a different one makes Locust begin anew."""
        if users != self._target[0]:
            step = abs(users - self._target[0])
            self._target = (users, float(min(step, USERS_PER_S * max(self.runner.worker_count, 1))))
        return self._target

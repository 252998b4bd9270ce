"""The course of a scenario as a Locust shape: how many users there should be, until a graceful end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from locust import LoadTestShape

from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE, Layout
from comfysoak_load.course.pilot import Pilot
from comfysoak_load.harness import Harness, harness_of

USERS_PER_S = 100.0  # at most so many begin in a second and a process: opening a socket is work for the server too


def has_plan() -> bool:
    """Whether this process runs under a scenario: then its stages decide, and not Locust's -u, -r and -t."""
    directory = os.environ.get(RUN_DIRECTORY_VARIABLE, "")
    return bool(directory) and Layout(Path(directory)).run_json.is_file()


class PlanShape(LoadTestShape):  # type: ignore[misc]  # Locust is not typed here
    """Follows the plan's course."""

    abstract = True

    def __init__(self) -> None:
        super().__init__()
        self._harness: Harness | None = None
        self._pilot: Pilot | None = None
        self._target: tuple[int, float] = (0, 1.0)

    def reset_time(self) -> None:
        """A new test begins; a master says so a second time when it has begun."""
        super().reset_time()
        if self._harness is None or self._harness.process is None:
            self._pilot = None
            self._target = (0, 1.0)

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now, and how fast to get there; None at the end."""
        if self._pilot is None:
            return self._towards(self._users_at_first())
        users = self._pilot.users
        return None if users is None else self._towards(users)

    def _users_at_first(self) -> int:
        """Locust begins a test with the first answer to its first question; the course begins with the test."""
        environment = self.runner.environment
        if self._harness is None:
            self._harness = harness_of(environment)
            environment.events.test_start.add_listener(self._begin)
        stages = self._harness.plan.stages
        return stages[0].users_at(0.0) if stages else 0

    def _begin(self, **_: Any) -> None:
        assert self._harness is not None  # noqa: S101  # it is what this listener came with
        self._pilot = Pilot(self._harness)
        self._pilot.begin()

    def _towards(self, users: int) -> tuple[int, float]:
        """The same answer for the same number: a different one makes Locust begin anew."""
        if users != self._target[0]:
            step = abs(users - self._target[0])
            self._target = (users, float(min(step, USERS_PER_S * max(self.runner.worker_count, 1))))
        return self._target

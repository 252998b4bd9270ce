"""The course of a scenario as a Locust shape: how many users there should be, until a graceful end."""

from __future__ import annotations

import os
from pathlib import Path

from locust import LoadTestShape

from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE, Layout
from comfysoak_load.harness import harness_of
from comfysoak_load.pilot import Pilot

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
        self._pilot: Pilot | None = None
        self._target: tuple[int, float] = (0, 1.0)

    def reset_time(self) -> None:
        """A new test begins."""
        super().reset_time()
        self._pilot = None
        self._target = (0, 1.0)

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now, and how fast to get there; None at the end."""
        if self._pilot is None:
            self._pilot = Pilot(harness_of(self.runner.environment))
            self._pilot.begin()
        users = self._pilot.users
        return None if users is None else self._towards(users)

    def _towards(self, users: int) -> tuple[int, float]:
        """The same answer for the same number: a different one makes Locust begin anew."""
        if users != self._target[0]:
            step = abs(users - self._target[0])
            self._target = (users, float(min(step, USERS_PER_S * max(self.runner.worker_count, 1))))
        return self._target

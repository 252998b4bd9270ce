"""The plan: a scenario as it will be run, with every file it names read in.

It stands in `run.json`, so that load, probes and analysis need the run directory and nothing else, on any machine.
It holds no secret: a token is named by its environment variable.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from comfysoak_core.comfyui.vary import Vary
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.arrivals import Process
from comfysoak_core.scenario.embedded import Embedded

WARMUP = "warmup"
Route = Literal["round-robin"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workload(_Frozen):
    """One workflow of the mix. `think_s` is the (shortest, longest) pause of a user after each prompt."""

    name: str
    graph: dict[str, Any]
    weight: float = 1.0
    deadline_s: float = 600.0
    expected: Outcome = Outcome.SUCCESS
    vary: Vary = Vary()
    fetch: bool = True
    think_s: tuple[float, float] = (0.0, 0.0)


class Arrivals(_Frozen):
    """Open load: prompts are due at a rate that goes in a straight line, however many are still on their way.

    More than `in_flight_most` at once are not sent, and recorded as such.
    """

    rate_from_per_s: float
    rate_to_per_s: float
    process: Process = "poisson"
    in_flight_most: int = 1000


class Stage(_Frozen):
    """A stretch of load: users go from `users_from` to `users_to` in a straight line, or prompts arrive."""

    duration_s: float
    users_from: int = 0
    users_to: int = 0
    arrivals: Arrivals | None = None
    phase: str = "load"

    @property
    def load_in_words(self) -> str:
        """How much load it is: `1 to 8 users`, `0.5 prompts a second, poisson`."""
        if self.arrivals is None:
            return f"{_span(self.users_from, self.users_to)} users"
        rates = _span(self.arrivals.rate_from_per_s, self.arrivals.rate_to_per_s)
        return f"{rates} prompts a second, {self.arrivals.process}"

    def users_at(self, elapsed_s: float) -> int:
        """How many users there should be `elapsed_s` after the stage began."""
        share = 1.0 if self.duration_s <= 0 else min(max(elapsed_s / self.duration_s, 0.0), 1.0)
        return round(self.users_from + (self.users_to - self.users_from) * share)


class GpuSource(_Frozen):
    """Where GPU samples come from; `url` for dcgm only."""

    kind: Literal["nvml", "dcgm"]
    url: str | None = None


class Probes(_Frozen):
    """What watches, and how often. `log` is `socket` (by the server), `off`, or the path of its log file."""

    gpu: tuple[GpuSource, ...] = (GpuSource(kind="nvml"),)
    every_s: float = 0.1
    host_every_s: float = 1.0
    server_every_s: float = 1.0
    log: str = "socket"


class Plan(_Frozen):
    """All that is to be done and watched, with nothing left to look up."""

    name: str
    seed: int = 0
    servers: tuple[str, ...] = ()  # base URLs; empty until the embedded ones have started
    embedded: Embedded | None = None
    route: Route = "round-robin"
    token_variable: str | None = None  # sent as `Authorization: Bearer`, from the environment
    workloads: tuple[Workload, ...]
    stages: tuple[Stage, ...]
    watchers: int = 0
    probes: Probes = Probes()
    goals: tuple[str, ...] = ()
    on_undecided: Literal["fail", "pass"] = "fail"

    def with_duration(self, duration_s: float) -> Plan:
        """The same shape, stretched or shrunk to `duration_s` in all."""
        factor = duration_s / self.duration_s
        stages = (stage.model_copy(update={"duration_s": stage.duration_s * factor}) for stage in self.stages)
        return self.model_copy(update={"stages": tuple(stages)})

    def with_users(self, users_most: int) -> Plan:
        """The same shape, scaled to `users_most` users at its highest; a stage with users keeps at least one."""
        factor = users_most / max(self.users_most, 1)

        def scaled(users: int) -> int:
            return max(round(users * factor), 1) if users else 0

        stages = (
            stage.model_copy(update={"users_from": scaled(stage.users_from), "users_to": scaled(stage.users_to)})
            for stage in self.stages
        )
        return self.model_copy(update={"stages": tuple(stages)})

    @property
    def duration_s(self) -> float:
        """How long all stages take together."""
        return sum(stage.duration_s for stage in self.stages)

    @property
    def users_most(self) -> int:
        """The largest number of users at any moment."""
        return max((max(stage.users_from, stage.users_to) for stage in self.stages), default=0)

    @property
    def in_flight_most(self) -> int:
        """The largest number of prompts of open load at any moment; each holds a socket."""
        return max((stage.arrivals.in_flight_most for stage in self.stages if stage.arrivals), default=0)

    @property
    def sockets_most(self) -> int:
        """The largest number of WebSockets at any moment."""
        return max(self.users_most, self.in_flight_most) + self.watchers

    def stage_at(self, elapsed_s: float) -> tuple[Stage, float] | None:
        """The stage at `elapsed_s` since the start of load, and how long it has lasted; None when all are over."""
        for stage in self.stages:
            if elapsed_s < stage.duration_s:
                return stage, elapsed_s
            elapsed_s -= stage.duration_s
        return None


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"

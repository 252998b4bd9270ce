"""The plan: a scenario as it will be run, with every file it names read in.

It stands in `run.json`, so that load, probes and analysis need the run directory and nothing else, on any machine.
It holds no secret: a token is named by its environment variable.
"""

from __future__ import annotations

from typing import Literal

from comfysoak_core.scenario.canary import Canary
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.frozen import Frozen
from comfysoak_core.scenario.gateway import Gateway
from comfysoak_core.scenario.goals import AbortGoal, Accepted
from comfysoak_core.scenario.routing import Route
from comfysoak_core.scenario.sessions import Sessions
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload

DRAIN_MOST_S = 300.0  # what was sent ends by itself or at its deadline; only a longer deadline is cut short
LAST_PATIENCE_S = 30.0  # for open prompts once the run has reached its longest duration


class GpuSource(Frozen):
    """Where GPU samples come from: this host's driver, an exporter, or a probe that listens at `url`."""

    kind: Literal["nvml", "dcgm", "probe"]
    url: str | None = None
    token_variable: str | None = None  # of a probe


class Pause(Frozen):
    """Probes are switched off in turn, to learn what watching costs."""

    every_s: float
    lasts_s: float


class Probes(Frozen):
    """What watches, and how often. `log` is `socket` (by the server), `off`, or the path of its log file."""

    gpu: tuple[GpuSource, ...] = (GpuSource(kind="nvml"),)
    every_s: float = 0.1
    host_every_s: float = 1.0
    server_every_s: float = 1.0
    log: str = "socket"
    pause: Pause | None = None


class Interleaving(Frozen):
    """The first two servers are loaded in turn, in blocks of about `block_s`.

    What is due in the first `discard_s` of a block is in no figure of the comparison.
    """

    block_s: float
    discard_s: float


class Plan(Frozen):
    """All that is to be done and watched, with nothing left to look up."""

    name: str
    seed: int = 0
    servers: tuple[str, ...] = ()  # base URLs; empty until the embedded ones have started
    embedded: Embedded | None = None
    gateway: Gateway | None = None  # prompts go through it; `servers` are those behind it, as far as they are named
    route: Route = "round-robin"
    allow_down: bool = False  # of a fleet some may be down at the start
    interleaving: Interleaving | None = None  # of the stages' blocks
    token_variable: str | None = None  # sent as `Authorization: Bearer`, from the environment
    workloads: tuple[Workload, ...]
    stages: tuple[Stage, ...]
    max_duration_s: float | None = None
    sessions: Sessions = Sessions()
    canary: Canary | None = None
    probes: Probes = Probes()
    goals: tuple[str, ...] = ()
    aborts: tuple[AbortGoal, ...] = ()  # those of the goals that end the run once they are missed
    accepted: tuple[Accepted, ...] = ()
    on_undecided: Literal["fail", "pass"] = "fail"

    def with_duration(self, duration_s: float) -> Plan:
        """The same shape, stretched or shrunk to `duration_s` in all; cold starts and searches take what they take."""
        now_s = sum(stage.load_s for stage in self.stages if stage.search is None)
        factor = duration_s / now_s if now_s else 1.0
        return self.model_copy(update={"stages": tuple(stage.stretched(factor) for stage in self.stages)})

    def with_users(self, users_most: int) -> Plan:
        """The same shape, scaled to `users_most` users at its highest; a stage with users keeps at least one."""
        factor = users_most / max(self.users_most, 1)
        return self.model_copy(update={"stages": tuple(stage.with_users_times(factor) for stage in self.stages)})

    @property
    def duration_s(self) -> float:
        """How long there is load, in all stages together."""
        return sum(stage.load_s for stage in self.stages)

    @property
    def starts_cold(self) -> bool:
        """Whether its servers need not be there when it starts."""
        return bool(self.stages) and self.stages[0].cold_start is not None

    @property
    def patience_s(self) -> float:
        """How long open prompts have before a settle, a cold start or the end: all but a very long deadline."""
        return min(max((workload.deadline_s for workload in self.workloads), default=0.0), DRAIN_MOST_S)

    @property
    def longest_s(self) -> float:
        """The longest the run can take from the start of load to its last prompt, whatever servers do."""
        stages_s = sum(stage.longest_s(self.patience_s) for stage in self.stages) + self.patience_s
        if self.max_duration_s is None:
            return stages_s
        return min(stages_s, self.max_duration_s + LAST_PATIENCE_S)

    @property
    def users_most(self) -> int:
        """The largest number of users at any moment."""
        return max((stage.users_most for stage in self.stages), default=0)

    @property
    def in_flight_most(self) -> int:
        """The largest number of prompts of open load at any moment; each holds a socket."""
        return max((stage.in_flight_most for stage in self.stages), default=0)

    @property
    def sockets_most(self) -> int:
        """The largest number of WebSockets at any moment: a user of a fleet may come to hold one to each server."""
        return max(self.users_most, self.in_flight_most) * self.servers_count + self.sessions.sockets_most

    @property
    def address(self) -> str:
        """Where prompts are sent: the gateway, or the first of the servers."""
        return self.gateway.url if self.gateway is not None else next(iter(self.servers), "")

    @property
    def servers_count(self) -> int:
        """How many servers there are, or will be once the embedded ones have started."""
        return len(self.servers) or (self.embedded.servers if self.embedded is not None else 1)

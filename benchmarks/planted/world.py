"""What a planted recording is about: servers, workflows, load, and the script of what goes wrong.

A `World` is drawn from a seed, a planting writes into its `Script`, `course.play` lets it happen, and `record` writes
what load and probes would have seen of it. All times are seconds after the start, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from comfysoak_core.rows import Outcome

GIB = 1024**3
MIB = 1024**2
Seconds = NDArray[np.float64]
OfTime = Callable[[Seconds], Seconds]  # moments -> bytes, or a factor, at each
HISTORY_LEAST, HISTORY_AT_MOST = 0.7, 1.3  # of what keeping a prompt takes by its JSON: allocators differ
Stage = Literal["unsent", "refused", "deleted", "node", "end", "cached", "slow", "left"]


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow of the mix; its costs are those of an idle GPU of the right kind."""

    name: str
    model: str  # its class, as the server's log calls it
    model_bytes: int
    steps: int
    step_s: float
    decode_s: float
    activation_bytes: int  # what a picture takes beside the model, kept by the allocator
    weight: float = 1.0
    deadline_s: float = 300.0
    cpu_s: float = 0.0  # of a node that leaves the GPU alone

    @property
    def service_s(self) -> float:
        """About how long one prompt runs, its model loaded."""
        return 0.25 + self.steps * self.step_s + self.decode_s + self.cpu_s


@dataclass(frozen=True, slots=True)
class Machine:
    """One server with one GPU of its own, both on one host."""

    url: str
    host: str
    uuid: str
    index: int
    pid: int
    gpu_name: str
    vram_bytes: int
    idle_bytes: int  # of the CUDA context, nothing loaded
    rss_bytes: int  # of the server's process, when it has started
    bandwidth: float  # bytes a second, from file to GPU
    watts: float


@dataclass(frozen=True, slots=True)
class Load:
    """Closed (users who think) or open (arrivals a second); `level` of a moment, between 0 and `most`."""

    is_open: bool
    most: float
    level: Callable[[float], float]
    think_s: tuple[float, float] = (0.5, 3.0)


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the first prompt that is due at or after `at_s` (on `server`, with `workflow`)."""

    at_s: float
    stage: Stage
    outcome: str
    code: str | None = None
    server: int | None = None
    workflow: str | None = None
    error_type: str | None = None
    message: str | None = None
    node: str = "3"
    http_status: int | None = None
    problem: str | None = None
    expected: str = Outcome.SUCCESS.value
    deliberate: str | None = None
    late_s: float = 0.0  # how much later than it happened its end became known
    factor: float = 1.0  # of its sampling, when it is slow
    keeps_bytes: int = 0  # not given back after running out of memory
    from_history: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """A server that refuses connections; what was in it is lost. `back` is None when it stays away."""

    server: int
    from_s: float
    back_s: float | None
    why: str = "stopped"  # or "killed by its limit"


@dataclass(frozen=True, slots=True)
class Stuck:
    """From the first prompt after `at_s` on nothing ends: its worker has died, or a node hangs."""

    server: int
    at_s: float
    hangs: bool  # else the worker is dead
    pinned: bool = False  # the GPU is busy all the time


@dataclass(frozen=True, slots=True)
class Blocked:
    """The loop of a server answers only after `answer_s`."""

    server: int
    from_s: float
    until_s: float
    answer_s: float


@dataclass(frozen=True, slots=True)
class Cut:
    """A socket that ends. `who`: an index into the sockets of the run, users first."""

    who: int
    at_s: float
    close_code: int
    closed_by: str
    code: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Clocks that fall to `clock` of what they were, the driver giving `reason`; work takes as much longer."""

    server: int
    from_s: float
    until_s: float
    clock: float
    reason: str
    works: bool = True  # whether work is slower for it


@dataclass(frozen=True, slots=True)
class Stranger:
    """Another process on a GPU."""

    server: int
    from_s: float
    until_s: float
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A GPU that no longer answers."""

    server: int
    at_s: float
    lost: bool  # off the bus; else the driver answers "unknown error"


@dataclass(frozen=True, slots=True)
class Poisoned:
    """From the first prompt after `at_s` on all fail with a CUDA error; after `count` of them it is restarted."""

    server: int
    at_s: float
    count: int
    down_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """An event that somebody told."""

    at_s: float
    source: str
    kind: str
    server: int | None = None
    subject: str | None = None
    code: str | None = None
    detail: str = ""


@dataclass(slots=True)
class Script:
    """What is to happen; empty in a clean run."""

    fates: list[Fate] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    stuck: list[Stuck] = field(default_factory=list)
    blocked: list[Blocked] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    slowdowns: list[Slowdown] = field(default_factory=list)
    strangers: list[Stranger] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    poisoned: list[Poisoned] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    silent: list[tuple[int, float, float]] = field(default_factory=list)  # server, from, until: no message to anyone
    speed: list[Callable[[int, float, str], float]] = field(default_factory=list)  # times the work of (server, at, of)
    vram: list[tuple[int, OfTime]] = field(default_factory=list)  # beside what is loaded
    rss: list[tuple[int, OfTime]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)  # servers that leak so much a prompt besides as history could hide
    prompt_bytes: int = 0  # of text in each prompt; 0: a few words
    partial: dict[str, float] = field(default_factory=dict)  # model -> share that fits
    tiled: set[str] = field(default_factory=set)  # workflows whose decoding goes on in tiles
    filling: dict[int, tuple[float, float]] = field(default_factory=dict)  # bytes free at the start, bytes a second
    oom_kills: dict[int, list[float]] = field(default_factory=dict)  # server -> moments, of what its container holds
    canary_wrong: list[tuple[float, str, str, str]] = field(default_factory=list)  # at, code, outcome, problem


@dataclass(slots=True)
class World:
    """One run, before it is played."""

    name: str
    random: np.random.Generator
    duration_s: float
    warmup_s: float
    workflows: tuple[Workflow, ...]
    machines: tuple[Machine, ...]
    load: Load
    gpu_every_s: float = 0.1
    every_s: float = 1.0  # host, processes, servers
    settle: tuple[float, float] | None = None  # every, wait
    has_log: bool = True
    contained_bytes: int | None = None  # memory limit of each server's container
    watchers: int = 4
    canary_every_s: float | None = None
    gateway: str | None = None
    cold_start_s: float | None = None  # a stage of so long before all others
    switching: float = 0.0  # by so much likelier is the next prompt of another workflow
    mix: Callable[[float], tuple[float, ...]] | None = None  # weights at a moment
    sawtooth_bytes: int = 0  # what garbage collection gives back now and then
    dynamic: bool = False  # weights are staged, VRAM fills up and stays full
    cache_bytes: int = 0  # RAM that a cache fills up
    cache_s: float = 600.0
    kept_factor: float = 1.0  # of what keeping a prompt takes by its JSON
    power_cap: bool = False  # short touches of the power limit, as at full load
    noise: float = 0.03  # of the time a step takes, from prompt to prompt
    kind: str = ""
    more: dict[str, object] = field(default_factory=dict)  # of the plan
    cancel: bool = False
    script: Script = field(default_factory=Script)

    @property
    def measured_s(self) -> float:
        """When the warm-up is over."""
        return (self.cold_start_s or 0.0) + self.warmup_s

    def moment(self, low: float = 0.2, high: float = 0.8) -> float:
        """A moment between two shares of the measured time."""
        share = self.random.uniform(low, high)
        return float(self.measured_s + share * (self.duration_s - self.measured_s))

    def any_server(self) -> int:
        """One of the servers."""
        return int(self.random.integers(len(self.machines)))

    def between(self, low: float, high: float) -> float:
        """A number between the two."""
        return float(self.random.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        return int(self.random.integers(low, high + 1))

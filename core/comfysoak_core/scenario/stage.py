"""The stages of a plan: stretches of load, one after the other, each of one kind."""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import Field

from comfysoak_core.scenario.arrivals import Process
from comfysoak_core.scenario.curve import Curve, Line
from comfysoak_core.scenario.frozen import Frozen
from comfysoak_core.scenario.search import Search

WARMUP = "warmup"
SETTLE = "settle"  # while memory is let go and read
COLD_START = "cold start"
JUDGE_WITHIN_S = 120.0  # a level nobody has judged by then ends its search
JUDGE_USUAL_S = 5.0
TRIAL = "trial: "  # and a level: the phase of the prompts by which a search for capacity judges that level
USERS, ARRIVALS = "users", "prompts a second"  # what a level counts
FREE_WITHIN_S = 60.0  # a settle waits so long for a server to have let its memory go
ERRAND_GRACE_S = 10.0  # a settle or a cold start keeps its limit itself; one that does not is left behind after so long


class Arrivals(Frozen):
    """Open load: prompts are due at a rate, however many are still on their way.

    More than `in_flight_most` at once are not sent, and recorded as such.
    """

    rate_per_s: Curve
    process: Process = "poisson"
    in_flight_most: int = 1000


class Replay(Frozen):
    """Open load: prompts are due as in a trace, `speed` times as fast; it lies in the run directory.

    `trace` is the hash of its content as it lies there, `name` that of the file it came from, `source` the path of that
    file until it is there.
    """

    trace: str
    name: str
    prompts: int
    lasts_s: float  # from the first prompt to the last, as it was
    speed: float = 1.0
    in_flight_most: int = 1000
    source: str = Field("", exclude=True)


class Settle(Frozen):
    """Every so often, by the stage's load clock, servers let their memory go and stand idle for `wait_s`."""

    every_s: float
    wait_s: float = 30.0

    @property
    def limit_s(self) -> float:
        """The longest it takes once nothing is open any more."""
        return FREE_WITHIN_S + self.wait_s


class ColdStart(Frozen):
    """Servers start anew, from process start to the first picture.

    By `command`, run once: a program with its arguments, or text for a shell; None: somebody else restarts them.
    The first picture is one of each workload, or of the one named.
    """

    command: tuple[str, ...] | str | None = None
    workload: str | None = None


class CapacitySearch(Frozen):
    """The highest load at which `goals` hold: levels between `low` and `high`, in users or prompts a second.

    Each is held for `discard_s` and then `hold_s`; on to `hold_most_s` where there were too few prompts to tell.
    """

    counts_users: bool
    low: float
    high: float
    hold_s: float
    hold_most_s: float
    discard_s: float
    factor: float
    within: float
    goals: tuple[str, ...]
    process: Process = "poisson"
    in_flight_most: int = 1000

    @property
    def unit(self) -> str:
        """What a level counts: `USERS` or `ARRIVALS`."""
        return USERS if self.counts_users else ARRIVALS

    def search(self) -> Search:
        """The search, before its first trial."""
        return Search(low=self.low, high=self.high, factor=self.factor, within=self.within, whole=self.counts_users)

    def level_in_words(self, level: float) -> str:
        """As `level_in_words`."""
        return level_in_words(level, self.unit)

    def longest_s(self, patience_s: float) -> float:
        """About how long the longest search takes that finds a line: up to the top, between the last two, once more."""
        up = math.ceil(math.log(self.high / self.low, self.factor)) + 1
        between = math.ceil(math.log2(max(math.log(self.factor) / math.log1p(self.within), 1.0))) + 1
        return (up + between + 1) * (self.discard_s + self.hold_most_s + patience_s + JUDGE_USUAL_S)


def level_in_words(level: float, unit: str) -> str:
    """A level of load in `USERS` or `ARRIVALS`: `8 users`, `90 prompts a minute`; its trial's phase is named so."""
    if unit == USERS:
        return f"{level:.0f} user" + ("" if level == 1 else "s")
    per_minute = 60 * level
    return f"{per_minute:.4g} prompts a minute" if per_minute < 10_000 else f"{per_minute:.0f} prompts a minute"


class Side(StrEnum):
    """The servers of `run --ab`, in the order of the plan's servers."""

    OLD = "old"
    NEW = "new"


class Block(Frozen):
    """A stretch of load that goes to one of two servers; the other block of its pair has the same prompts."""

    side: Side
    pair: int

    @property
    def server(self) -> int:
        """The place of its server in the plan's."""
        return tuple(Side).index(self.side)

    def phase_of(self, phase: str) -> str:
        """The phase of its prompts: `old 3`, `peak: old 3`; no other block has it."""
        return f"{self.side} {self.pair}" if phase == "load" else f"{phase}: {self.side} {self.pair}"


class Stage(Frozen):
    """A stretch of load that lasts `duration_s`: users, or prompts that arrive, or those of a trace.

    A cold start has no load; `duration_s` is then its limit.
    """

    duration_s: float
    users: Curve | None = None
    arrivals: Arrivals | None = None
    replay: Replay | None = None
    settle: Settle | None = None
    cold_start: ColdStart | None = None
    search: CapacitySearch | None = None
    block: Block | None = None  # all of it goes to one server, and what is open at its end is waited for
    phase: str = "load"

    @property
    def load_in_words(self) -> str:
        """How much load it is: `1 to 8 users`, `0.5 prompts a second, poisson`."""
        if self.cold_start is not None:
            return "a cold start"
        if self.search is not None:
            low, high = self.search.level_in_words(self.search.low), self.search.level_in_words(self.search.high)
            return f"a search for capacity from {low} to {high}"
        if self.arrivals is not None:
            rate = str(self.arrivals.rate_per_s)
            return f"{rate} prompt{'' if rate == '1' else 's'} a second, {self.arrivals.process}"
        if self.replay is not None:
            return f"{self.replay.name} at {self.replay.speed:g} times its speed"
        if self.users is None:
            return "no load"
        return f"{self.users} user{'' if str(self.users) == '1' else 's'}"

    @property
    def is_open(self) -> bool:
        """Whether prompts are due by the clock, and not when users send them."""
        return self.arrivals is not None or self.replay is not None or self._searched_arrivals is not None

    @property
    def _searched_arrivals(self) -> CapacitySearch | None:
        return self.search if self.search is not None and not self.search.counts_users else None

    def at_level(self, level: float | None) -> Stage:
        """The stage while a trial of its search holds `level`; itself where there is none."""
        if self.search is None or level is None:
            return self
        line = Line.level(level)
        lasts_s = self.search.discard_s + self.search.hold_most_s  # one that was begun is gone through with
        if self.search.counts_users:
            return self.model_copy(update={"users": line, "duration_s": lasts_s})
        arrivals = Arrivals(rate_per_s=line, process=self.search.process, in_flight_most=self.search.in_flight_most)
        return self.model_copy(update={"arrivals": arrivals, "duration_s": lasts_s})

    @property
    def load_s(self) -> float:
        """How long there is load."""
        return self.duration_s if self.cold_start is None else 0.0

    def longest_s(self, patience_s: float) -> float:
        """The longest it can take, when open prompts have `patience_s` before each settle or cold start."""
        if self.cold_start is not None:
            return patience_s + self.duration_s + ERRAND_GRACE_S
        if self.search is not None:  # a level that was begun is gone through with
            return self.duration_s + self.search.discard_s + self.search.hold_most_s + patience_s + JUDGE_WITHIN_S
        if self.settle is None:
            return self.duration_s + (patience_s if self.block is not None else 0.0)
        settles = self.duration_s // self.settle.every_s
        return self.duration_s + settles * (patience_s + self.settle.limit_s + ERRAND_GRACE_S)

    @property
    def users_most(self) -> int:
        """The largest number of users at any moment of it."""
        if self.search is not None and self.search.counts_users:
            return round(self.search.high)
        return round(self.users.highest) if self.users is not None else 0

    @property
    def in_flight_most(self) -> int:
        """The largest number of prompts of open load on their way at once; each holds a socket."""
        part = self.arrivals or self.replay or self._searched_arrivals
        return part.in_flight_most if part is not None else 0

    def users_at(self, elapsed_s: float) -> int:
        """How many users there should be `elapsed_s` after the stage began."""
        return round(self.users.at(elapsed_s, self.duration_s)) if self.users is not None else 0

    def stretched(self, factor: float) -> Stage:
        """The same, stretched: as many waves, spikes, settles as before. A cold start or a search keeps its limit."""
        if self.cold_start is not None or self.search is not None:
            return self
        update: dict[str, object] = {"duration_s": self.duration_s * factor}
        if self.users is not None:
            update["users"] = self.users.stretched(factor)
        if self.arrivals is not None:
            rate = self.arrivals.rate_per_s.stretched(factor)
            update["arrivals"] = self.arrivals.model_copy(update={"rate_per_s": rate})
        if self.replay is not None:
            update["replay"] = self.replay.model_copy(update={"speed": self.replay.speed / factor})
        if self.settle is not None:
            update["settle"] = self.settle.model_copy(update={"every_s": self.settle.every_s * factor})
        return self.model_copy(update=update)

    def with_users_times(self, factor: float) -> Stage:
        """The same with its users scaled, also those of a search; a stage with users keeps at least one."""
        if self.search is not None and self.search.counts_users:
            low, high = (max(round(level * factor), 1) for level in (self.search.low, self.search.high))
            search = self.search.model_copy(update={"low": float(low), "high": float(high)})
            return self.model_copy(update={"search": search})
        if self.users is None:
            return self
        return self.model_copy(update={"users": self.users.scaled(factor, whole=True)})

"""When the faults of a scenario strike: by time, by chance, so many times at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.faults import (
    CorruptOutput,
    Down,
    FaultBase,
    ForeignMemory,
    Frozen,
    Hang,
    LoseMessages,
    MissingOutput,
    NodeFaultBase,
    RequestFaultBase,
    SilentSockets,
    Throttle,
    WrongOutput,
)

F = TypeVar("F", bound=FaultBase)
Note = Callable[[FaultBase, str], None]
# Of these `for` is how long the state lasts; of others it is how long opportunities are taken.
_STATES = (Down, ForeignMemory, Frozen, Hang, SilentSockets, Throttle)


class Schedule:
    """One fault and when it has struck; `start_ns` is the first start of its server."""

    def __init__(self, fault: FaultBase, start_ns: int, random: Random) -> None:
        self.fault = fault
        self.struck = 0
        self._start_ns = start_ns
        self._random = random
        self._firing_done = -1  # the last firing that has struck
        self._firing_noted = -1

    @property
    def timed(self) -> bool:
        """Whether it has a time; otherwise it is active always."""
        return self.fault.at is not None or self.fault.every is not None

    @property
    def _is_stretch(self) -> bool:
        """Whether it strikes at each opportunity of a stretch of time."""
        return self.fault.lasting is not None and not isinstance(self.fault, _STATES)

    def next_firing_ns(self) -> int | None:
        """When the first firing that has not struck yet is due; None when there is none."""
        if not self.timed or self._exhausted():
            return None
        return self._firing_ns(self._firing_done + 1)

    def active(self, now_ns: int) -> bool:
        """Whether an opportunity now is one of its own (chance aside)."""
        if self._exhausted():
            return False
        if not self.timed:
            return True
        firing = self._firing_at(now_ns)
        if firing < 0:
            return False
        if not self._is_stretch:
            return firing > self._firing_done
        began = self._firing_ns(firing)
        return began is not None and now_ns < began + round((self.fault.lasting or 0.0) * NS_PER_S)

    def take(self, now_ns: int, *, is_moment: bool = False) -> bool:
        """Whether it strikes at this opportunity; if so, that counts.

        A moment of the clock (`is_moment`) is one opportunity: it does not come back when chance was against it.
        """
        if not self.active(now_ns):
            return False
        chance = self.fault.probability
        lucky = chance is None or self._random.random() < chance
        self.struck += lucky
        if lucky or is_moment:
            self._firing_done = self._firing_at(now_ns) if self.timed else -1
        return lucky

    def worth_a_note(self, now_ns: int) -> bool:
        """Whether this strike is news: each one, but only the first of a stretch in which it always strikes."""
        if self.fault.probability is not None or (self.timed and not self._is_stretch):
            return True
        firing = self._firing_at(now_ns) if self.timed else 0
        news = firing > self._firing_noted
        self._firing_noted = firing
        return news

    def end_ns(self, now_ns: int) -> int | None:
        """When a state that begins now ends; None for one without an end."""
        if self.fault.lasting is None:
            return None
        return now_ns + round(self.fault.lasting * NS_PER_S)

    def _exhausted(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times

    def _firing_ns(self, firing: int) -> int | None:
        first = self.fault.at if self.fault.at is not None else self.fault.every
        if first is None or firing < 0 or (firing > 0 and self.fault.every is None):
            return None
        return self._start_ns + round((first + firing * (self.fault.every or 0.0)) * NS_PER_S)

    def _firing_at(self, now_ns: int) -> int:
        """The number of the latest firing not after `now_ns`; -1 before the first."""
        first = self._firing_ns(0)
        if first is None or now_ns < first:
            return -1
        if self.fault.every is None:
            return 0
        return int((now_ns - first) // round(self.fault.every * NS_PER_S))


class Faults:
    """All faults of one server. `note` hears of each strike worth a line, with a word about it."""

    def __init__(self, faults: Sequence[FaultBase], server: int, seed: int, start_ns: int, note: Note) -> None:
        mine = [fault for fault in faults if fault.server is None or fault.server == server]
        self.schedules = [
            Schedule(fault, start_ns, Random(f"{seed}/{server}/{index}")) for index, fault in enumerate(mine)
        ]
        self._note = note
        self._kinds = {type(fault) for fault in mine}
        self.any = bool(mine)
        self.spoils_outputs = not self._kinds.isdisjoint((CorruptOutput, MissingOutput, WrongOutput))

    def has(self, kind: type[FaultBase]) -> bool:
        """Whether there is any fault of this kind, so that looking for it can be left out."""
        return kind in self._kinds

    def strike(
        self,
        kind: type[F],
        now_ns: int,
        *,
        node: str = "",
        any_node: bool = True,
        path: str = "",
        message: str = "",
        subject: str = "",
    ) -> F | None:
        """The fault of this kind that strikes at this opportunity; None for none.

        `node` is the class of a node about to run; a fault that names no class takes it only if `any_node`.
        """
        if kind not in self._kinds:
            return None
        opportunity = _Opportunity(node, any_node, path, message, subject)
        return next((fault for _, fault in self._strikes(kind, now_ns, opportunity)), None)

    def strike_with_end(self, kind: type[F], now_ns: int) -> tuple[F, int | None] | None:
        """The same at a moment of the clock, with the moment its stretch ends."""
        struck = self._strikes(kind, now_ns, _Opportunity(), is_moment=True)
        return next(((fault, schedule.end_ns(now_ns)) for schedule, fault in struck), None)

    def next_firing_ns(self, kinds: tuple[type[FaultBase], ...]) -> int | None:
        """When the next of these kinds is due by its time."""
        times = (schedule.next_firing_ns() for schedule in self.schedules if isinstance(schedule.fault, kinds))
        return min((time for time in times if time is not None), default=None)

    def _strikes(
        self, kind: type[F], now_ns: int, opportunity: _Opportunity, *, is_moment: bool = False
    ) -> Iterator[tuple[Schedule, F]]:
        for schedule in self.schedules:
            fault = schedule.fault
            if isinstance(fault, kind) and opportunity.suits(fault) and schedule.take(now_ns, is_moment=is_moment):
                if schedule.worth_a_note(now_ns):
                    self._note(fault, opportunity.subject)
                yield schedule, fault


@dataclass(frozen=True, slots=True)
class _Opportunity:
    node: str = ""
    any_node: bool = True
    path: str = ""
    message: str = ""
    subject: str = ""

    def suits(self, fault: FaultBase) -> bool:
        """Whether the fault wants one like this."""
        if isinstance(fault, NodeFaultBase):
            return self.any_node if fault.node is None else fault.node == self.node
        if isinstance(fault, LoseMessages):
            return fault.type == self.message
        if isinstance(fault, RequestFaultBase):
            return self.path.removeprefix("/api").startswith(fault.path)
        return True

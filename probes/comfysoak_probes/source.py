"""What a source of samples is: it is asked at fixed moments and answers with rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Row
from comfysoak_core.value import value

SAMPLER = "sampler"  # who says so, in events


class Kind(StrEnum):
    """What a source watches: the sources of one kind are paused together."""

    GPU = "gpu"  # also by exporters
    HOST = "host"
    SERVER = "server"
    LOG = "log"
    PROBE = "probe"  # on another machine, never paused: not to ask it is not to stop it


@value()
class Tick:
    """One reading: when it was due on the fixed grid, and when it began (UTC ns of the run's clock)."""

    deadline_ns: int
    began_ns: int

    @property
    def late_ns(self) -> int:
        """How long after its deadline the reading began."""
        return max(0, self.began_ns - self.deadline_ns)


class Source(Protocol):
    """Something that can be asked again and again: a GPU, an exporter, the host, a server.

    A source is asked by one thread at a time, not always by the same one, and may block: a hung one is put into a
    thread of its own. Between two readings any time may pass: it may have been paused, or its host suspended.
    """

    @property
    def name(self) -> str:
        """What it is called in events and on the terminal."""

    @property
    def every_s(self) -> float:
        """Seconds between two readings, asked anew after each one; 0: `read` itself waits for something new."""

    @property
    def patience_s(self) -> float:
        """Seconds after which a reading that has not come back holds up others and counts as hung."""

    def read(self, tick: Tick) -> Iterable[Row]:
        """Rows of this moment. What cannot be read is a row with `missing`, not an exception."""

    def close(self) -> None:
        """Let go of sockets, files and drivers."""


@runtime_checkable
class Unhurried(Source, Protocol):
    """A source that has more to read, which takes longer and which nobody else's next reading should wait for."""

    @property
    def rest_due_ns(self) -> int:
        """The deadline from which on there is more to read."""

    def read_rest(self, tick: Tick) -> Iterable[Row]:
        """What more is due at this tick; asked when all sources that were due with this one have been read."""


@dataclass(slots=True)
class Outage:
    """Whether a source answers, so that the loss and the return of it are each told once."""

    subject: str
    server: str | None = None
    since_ns: int | None = None

    def lost(self, at_ns: int, detail: str, *, kind: str = "source_missing", code: str | None = None) -> list[Event]:
        """The event of the first failure; nothing for those that follow it."""
        if self.since_ns is not None:
            return []
        self.since_ns = at_ns
        return [self._event(at_ns, kind, detail, code)]

    def found(self, at_ns: int, detail: str = "") -> list[Event]:
        """The event of the return, with how long it was away; nothing when it was never lost."""
        if self.since_ns is None:
            return []
        away_s = (at_ns - self.since_ns) / NS_PER_S
        self.since_ns = None
        return [self._event(at_ns, "source_found", f"{detail or 'answers again'} after {away_s:.1f} s", None)]

    def _event(self, at_ns: int, kind: str, detail: str, code: str | None) -> Event:
        return Event(
            at_ns=at_ns, source=SAMPLER, kind=kind, server=self.server, subject=self.subject, code=code, detail=detail
        )


@dataclass(slots=True)
class Backoff:
    """Seconds to wait before trying again: doubling from `first_s` to `most_s`."""

    first_s: float = 1.0
    most_s: float = 60.0
    tries: int = 0

    def next_s(self) -> float:
        """How long to wait now; longer each time."""
        wait_s = min(self.first_s * float(1 << min(self.tries, 16)), self.most_s)
        self.tries += 1
        return wait_s

    def reset(self) -> None:
        """It worked: the next failure waits `first_s` again."""
        self.tries = 0


def doubled_s(every_s: float, wanted_s: float) -> float:
    """`every_s`, doubled until it is at least `wanted_s`: for sources that are read more rarely while they cost more.

    Readings lie on a grid of multiples. With a period that is a little other after each of them the next moment of
    the grid would be anywhere, half the period away on average.
    """
    while every_s < wanted_s:
        every_s *= 2
    return every_s


@dataclass(slots=True)
class Cadence:
    """Lets every so many-th reading through: for what is read more rarely than its source."""

    every_s: float
    due_ns: int = 0

    def due(self, deadline_ns: int) -> bool:
        """True when at least `every_s` have passed since the last True; keeps to its own grid."""
        if deadline_ns < self.due_ns:
            return False
        step = round(self.every_s * NS_PER_S)
        late = deadline_ns - self.due_ns
        self.due_ns = deadline_ns + step if not self.due_ns or late >= step else self.due_ns + step
        return True

"""A thread that asks its sources at fixed moments; when one of them hangs, the others are moved to another thread.

A thread of its own for each GPU would cost a wake-up each: eight of them at 10 Hz are 1 % of a core for nothing.
So sources that answer fast share a thread, and only one that proved slow gets its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Event, Row
from comfysoak_probes.source import SAMPLER, Source, Tick

SLEEP_S = 0.25  # waits up to this long need no waking for the end; a plain sleep costs a third less


@dataclass(frozen=True, slots=True)
class Grid:
    """The moments at which something is due: `start_ns` and every `every_ns` after it, whatever happens between."""

    start_ns: int

    def after(self, now_ns: int, every_s: float) -> int:
        """The first moment of the grid later than `now_ns`; `now_ns` itself when `every_s` is 0."""
        every_ns = round(every_s * NS_PER_S)
        if every_ns <= 0:
            return now_ns
        return self.start_ns + ((now_ns - self.start_ns) // every_ns + 1) * every_ns

    def skipped(self, deadline_ns: int, next_ns: int, every_s: float) -> int:
        """How many moments between two readings nothing was read at."""
        every_ns = round(every_s * NS_PER_S)
        return max(0, (next_ns - deadline_ns) // every_ns - 1) if every_ns > 0 else 0


@dataclass(slots=True, eq=False)
class Scheduled:
    """A source, when it is due next, and what went wrong with it since last told."""

    source: Source
    due_ns: int
    skipped: int = 0
    longest_ns: int = 0
    told_ns: int = 0
    failures: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Reading:
    """A reading that is under way."""

    scheduled: Scheduled
    began_ns: int


class Worker:
    """Asks its sources in order of their deadlines, each on the common grid.

    `put` takes the rows and must be safe to call from any thread.
    """

    def __init__(
        self,
        sources: Iterable[Scheduled],
        *,
        grid: Grid,
        clock: Clock,
        put: Callable[[Iterable[Row]], None],
        stop: threading.Event,
    ) -> None:
        self._entries = list(sources)
        self._grid = grid
        self._clock = clock
        self._put = put
        self._stop = stop
        self._lock = threading.Lock()
        self.reading: Reading | None = None
        name = self._entries[0].source.name if self._entries else "idle"
        self._thread = threading.Thread(target=self._run, name=f"probe {name}", daemon=True)

    def start(self) -> None:
        """Begin; ends when `stop` is set, after at most one more reading."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it has not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def sources(self) -> list[Source]:
        """What it asks."""
        with self._lock:
            return [entry.source for entry in self._entries]

    def add(self, entry: Scheduled) -> None:
        """One more source; it is asked from its deadline on."""
        with self._lock:
            self._entries.append(entry)

    def release_others(self, now_ns: int) -> list[Scheduled]:
        """When a reading is overdue: the sources it holds up, which are no longer this worker's."""
        with self._lock:
            reading = self.reading
            if reading is None or now_ns - reading.began_ns < round(reading.scheduled.source.patience_s * NS_PER_S):
                return []
            others = [entry for entry in self._entries if entry is not reading.scheduled]
            self._entries = [reading.scheduled]
            return others

    def _run(self) -> None:
        while not self._stop.is_set():
            entry = self._next()
            wait_s = (entry.due_ns - self._clock.now_ns()) / NS_PER_S
            if wait_s > SLEEP_S:
                self._stop.wait(min(wait_s, 1.0))  # a source may be added meanwhile
                continue
            if wait_s > 0:
                time.sleep(wait_s)
            self._ask(entry)

    def _next(self) -> Scheduled:
        with self._lock:
            return min(self._entries, key=_due)

    def _ask(self, entry: Scheduled) -> None:
        began_ns = self._clock.now_ns()
        with self._lock:
            if entry not in self._entries:
                return
            self.reading = Reading(entry, began_ns)
        try:
            self._put(entry.source.read(Tick(entry.due_ns or began_ns, began_ns)))
        except Exception as error:  # noqa: BLE001  # a mistake in one source must not end the others
            self._put(_failure(entry, self._clock.now_ns(), error))
        finally:
            self.reading = None
            self._schedule(entry, began_ns)

    def _schedule(self, entry: Scheduled, began_ns: int) -> None:
        now_ns = self._clock.now_ns()
        every_s = entry.source.every_s
        next_ns = self._grid.after(now_ns, every_s)
        skipped = self._grid.skipped(entry.due_ns, next_ns, every_s) if entry.due_ns else 0
        entry.due_ns = next_ns
        if not skipped and not entry.skipped:
            return
        entry.skipped += skipped
        entry.longest_ns = max(entry.longest_ns, now_ns - began_ns)
        self._put(_skips(entry, now_ns))


def _due(entry: Scheduled) -> int:
    return entry.due_ns


TELL_AGAIN_NS = 10 * NS_PER_S


def _skips(entry: Scheduled, now_ns: int) -> list[Event]:
    """One event at most every 10 s about readings that could not be made in time."""
    if not entry.skipped or now_ns - entry.told_ns < TELL_AGAIN_NS:
        return []
    detail = f"{entry.skipped} readings skipped; the longest one took {entry.longest_ns / 1e6:.0f} ms"
    entry.skipped = entry.longest_ns = 0
    entry.told_ns = now_ns
    return [_event(entry, now_ns, "source_late", detail)]


def _failure(entry: Scheduled, now_ns: int, error: Exception) -> list[Event]:
    """A mistake of ours in a source: each kind told once."""
    detail = f"{type(error).__name__}: {error}"[:500]
    if type(error).__name__ in entry.failures:
        return []
    entry.failures.add(type(error).__name__)
    return [_event(entry, now_ns, "source_failed", detail)]


def _event(entry: Scheduled, now_ns: int, kind: str, detail: str) -> Event:
    return Event(at_ns=now_ns, source=SAMPLER, kind=kind, subject=entry.source.name, detail=detail)

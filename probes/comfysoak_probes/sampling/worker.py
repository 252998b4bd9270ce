"""A thread that asks its sources at fixed moments; when one of them hangs, the others are moved to another thread.

A thread of its own for each GPU would cost a wake-up each: eight of them at 10 Hz are 1 % of a core for nothing.
So sources that answer fast share a thread, and only one that proved slow gets its own, for as long as it may be slow.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, Clock
from comfysoak_core.rows import Event, Row
from comfysoak_core.value import value
from comfysoak_probes.sampling.pauses import Pauses
from comfysoak_probes.sampling.timers import be_on_time
from comfysoak_probes.source import SAMPLER, Backoff, Kind, Source, Tick, Unhurried

SLEEP_S = 0.25  # waits up to this long need no waking for the end; a plain sleep costs a third less
LEAST_NS = 2 * NS_PER_MS  # between two readings of a source that waits by itself: one that does not wait must not spin
APART_FIRST_S = 60.0  # a source that hung shares no thread for so long, longer each time
APART_MOST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Grid:
    """The moments at which something is due: `start_ns` and every `every_ns` after it, whatever happens between."""

    start_ns: int

    def after(self, now_ns: int, every_ns: int) -> int:
        """The first moment of the grid later than `now_ns`; `now_ns` itself when `every_ns` is 0."""
        if every_ns <= 0:
            return now_ns
        return self.start_ns + ((now_ns - self.start_ns) // every_ns + 1) * every_ns

    def skipped(self, deadline_ns: int, next_ns: int, every_ns: int) -> int:
        """How many moments between two readings nothing was read at."""
        return max(0, (next_ns - deadline_ns) // every_ns - 1) if every_ns > 0 else 0


@dataclass(slots=True, eq=False)
class Scheduled:
    """A source, when it is due next, and what went wrong with it since last told."""

    source: Source
    kind: Kind
    group: str  # whose thread it shares while it is quick
    due_ns: int
    every_s: float  # as its source last told it
    every_ns: int
    unhurried: Unhurried | None = None  # the source, where it is such a one
    is_new: bool = True  # its first reading comes as soon as somebody has time: nothing is skipped before it
    has_rows: bool = False  # it told more than events: there is something to watch
    removed: bool = False  # taken away: closed by the thread that asks it
    skipped: int = 0
    longest_ns: int = 0
    told_ns: int = 0
    failures: set[str] = field(default_factory=set)
    hung_ns: int = 0  # when a reading last held up others; 0: never
    hung_told: bool = False
    apart: Backoff = field(default_factory=lambda: Backoff(APART_FIRST_S, APART_MOST_S))
    apart_s: float = 0.0  # how long after that it shares no thread


@value()
class Reading:
    """A reading that is under way."""

    scheduled: Scheduled
    began_ns: int


class Worker:
    """Asks its sources in order of their deadlines, each on the common grid; ends when it has none left.

    Of two that are due at once the one that is asked more often comes first: what is read rarely takes longer.
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
        pauses: Pauses,
    ) -> None:
        self._entries = list(sources)
        self.grid = grid
        self._clock = clock
        self._put = put
        self._stop = stop
        self._pauses = pauses
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        self.suspect: Scheduled | None = None  # the one whose reading was last found overdue
        self.reading: Reading | None = None
        name = self._entries[0].source.name if self._entries else "idle"
        self._thread = threading.Thread(target=self._run, name=f"probe {name}", daemon=True)

    def start(self) -> None:
        """Begin; ends when `stop` is set and it was woken, after at most one more reading."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once whether there is something new to do."""
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it has not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def is_over(self) -> bool:
        """It has no sources left and takes none."""
        return self._over

    @property
    def entries(self) -> list[Scheduled]:
        """What it asks."""
        with self._lock:
            return list(self._entries)

    def reads_since(self, entry: Scheduled) -> int | None:
        """When the reading of `entry` began that is under way; None when there is none."""
        reading = self.reading
        return reading.began_ns if reading is not None and reading.scheduled is entry else None

    def add(self, entries: Iterable[Scheduled]) -> bool:
        """More sources, asked from their deadlines on; False when this worker is over."""
        with self._lock:
            if self._over:
                return False
            self._entries += entries
        self._wake.set()
        return True

    def remove(self, source: Source) -> bool:
        """Ask this source no more, and close it once it is not being read; False when it is not here."""
        with self._lock:
            entry = next((entry for entry in self._entries if entry.source is source), None)
            if entry is None:
                return False
            entry.removed, entry.due_ns = True, 0
        self._wake.set()
        return True

    def release_others(self, now_ns: int, excused_ns: int = 0) -> list[Scheduled]:
        """When a reading is overdue: the sources it holds up, which are no longer this worker's.

        Time before `excused_ns` does not count: nobody had any then.
        """
        with self._lock:
            reading = self.reading
            if reading is None:
                return []
            entry = reading.scheduled
            began_ns = max(reading.began_ns, excused_ns)
            if now_ns - began_ns < round(entry.source.patience_s * NS_PER_S):
                return []
            if len(self._entries) > 1:
                entry.apart_s = entry.apart.next_s()
            entry.hung_ns = now_ns
            self.suspect = entry
            others = [other for other in self._entries if other is not entry]
            self._entries = [entry]
            return others

    def release_all(self) -> list[Scheduled]:
        """All its sources, unless one is being read just now: it has none then, and ends."""
        with self._lock:
            if self.reading is not None:
                return []
            entries, self._entries = self._entries, []
        self._wake.set()
        return entries

    def _run(self) -> None:
        """All that is due at one moment is asked in one go: each wake-up, and each look at what is due, costs."""
        be_on_time()
        while not self._stop.is_set():
            due = self._next()
            if not due:
                return
            wait_s = (due[0].due_ns - self._clock.now_ns()) / NS_PER_S
            if wait_s > SLEEP_S:
                self._wake.wait(wait_s)
                self._wake.clear()
                continue
            if wait_s > 0:
                time.sleep(wait_s)
            ticks = [(entry, self._ask(entry)) for entry in due]
            for entry, tick in ticks:
                rest = entry.unhurried
                if tick is not None and rest is not None and tick.deadline_ns >= rest.rest_due_ns:
                    self._ask_rest(entry, rest, tick)

    def _next(self) -> list[Scheduled]:
        """Those that are due first, all at one moment, in their order."""
        with self._lock:
            if not self._entries:
                self._over = True
                return []
            first_ns = min(map(_due_ns, self._entries))
            due = [entry for entry in self._entries if entry.due_ns == first_ns]
        if len(due) > 1:
            due.sort(key=_every_ns)
        return due

    def _ask(self, entry: Scheduled) -> Tick | None:
        """Read it, unless it is paused, was taken away or moved meanwhile; the tick it was read at."""
        began_ns = self._clock.now_ns()
        with self._lock:
            if entry not in self._entries or began_ns < entry.due_ns or self._stop.is_set():
                return None  # it was moved to another worker meanwhile, which may have asked it
            self.reading = Reading(entry, began_ns)
        tick = Tick(entry.due_ns, began_ns)
        try:
            if entry.removed:
                self._close(entry)
            elif self._pauses.off is None or not self._is_paused(entry, began_ns):
                self._read(entry, tick)
                self._schedule(entry, began_ns)
                return tick
        except Exception as error:  # noqa: BLE001  # a mistake in one source must not end the others
            self._failed(entry, began_ns, error)
        finally:
            self.reading = None
        return None

    def _ask_rest(self, entry: Scheduled, rest: Unhurried, tick: Tick) -> None:
        now_ns = self._clock.now_ns()
        with self._lock:
            if entry not in self._entries or entry.removed:
                return
            self.reading = Reading(entry, now_ns)
        try:
            self._put(rest.read_rest(tick))
            if entry.source.every_s != entry.every_s:  # it failed in this, and waits longer from now on
                self._schedule(entry, now_ns)
        except Exception as error:  # noqa: BLE001  # as in `_ask`
            self._put(_failure(entry, self._clock.now_ns(), error))
        finally:
            self.reading = None

    def _read(self, entry: Scheduled, tick: Tick) -> None:
        rows = entry.source.read(tick)
        if not entry.has_rows:
            rows = list(rows)
            entry.has_rows = any(not isinstance(row, Event) for row in rows)
        self._put(rows)

    def _is_paused(self, entry: Scheduled, now_ns: int) -> bool:
        """Whether it is not to be asked now; due again then at the first moment after the pause."""
        until_ns = self._pauses.until_ns(entry.kind)
        if until_ns <= now_ns:
            return False
        entry.due_ns = self.grid.after(until_ns - 1, entry.every_ns)
        return True

    def _close(self, entry: Scheduled) -> None:
        with self._lock:
            self._entries.remove(entry)
        entry.source.close()

    def _failed(self, entry: Scheduled, began_ns: int, error: Exception) -> None:
        now_ns = self._clock.now_ns()
        self._put(_failure(entry, now_ns, error))
        entry.due_ns = self.grid.after(now_ns, NS_PER_S)  # should it be its `every_s` that is broken
        with contextlib.suppress(Exception):
            self._schedule(entry, began_ns)

    def _schedule(self, entry: Scheduled, began_ns: int) -> None:
        every_s = entry.source.every_s
        if every_s != entry.every_s:
            entry.every_s, entry.every_ns = every_s, round(every_s * NS_PER_S)
        now_ns, every_ns, due_ns = self._clock.now_ns(), entry.every_ns, entry.due_ns
        entry.due_ns = self.grid.after(now_ns, every_ns) if every_ns > 0 else now_ns + LEAST_NS
        skipped = 0 if entry.is_new else self.grid.skipped(due_ns, entry.due_ns, every_ns)
        entry.is_new = False
        if entry.removed:
            entry.due_ns = 0
        if skipped or entry.skipped:
            entry.skipped += skipped
            entry.longest_ns = max(entry.longest_ns, now_ns - began_ns)
            self._put(_skips(entry, now_ns))


_due_ns = attrgetter("due_ns")
_every_ns = attrgetter("every_ns")


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

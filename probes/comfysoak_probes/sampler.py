"""The sampler: many sources, a few threads, one owner that writes what they say.

Threads put rows into one outbox; the owner (the thread that calls `run`) takes them out several times a second,
writes them, reads the clocks, and looks whether a reading hangs. It is never held up by a source.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, AnchoredClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import ClockReading, Event, Row
from comfysoak_core.terminal import printable
from comfysoak_probes.source import SAMPLER, Cadence, Source
from comfysoak_probes.worker import Grid, Scheduled, Worker

DRAIN_S = 0.2
OUTBOX_ROWS = 200_000
STEP_NS = 5 * NS_PER_MS  # the system clock moved more than this in a second: a step, no drift
HUNG_FIRST_TOLD_S = 2.0
FIRST_WITHIN_S = 0.1  # a new source is asked at once, however rarely after that


class Sink(Protocol):
    """Where rows go; one thread calls it."""

    def take(self, rows: Iterable[Row]) -> None:
        """Keep these rows."""

    def close(self) -> None:
        """All rows have come."""


class JournalSink:
    """Rows into the journal of a run directory; on disk when `take` returns."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def take(self, rows: Iterable[Row]) -> None:
        """Add the rows and flush."""
        for row in rows:
            self._journal.add(row)
        self._journal.flush()

    def close(self) -> None:
        """Close the journal's files."""
        self._journal.close()


class Outbox:
    """Rows on their way from the sources to the owner; safe to use from all threads, bounded."""

    def __init__(self, rows_most: int = OUTBOX_ROWS) -> None:
        self._rows: deque[Row] = deque()
        self._rows_most = rows_most
        self.dropped = 0

    def put(self, rows: Iterable[Row]) -> None:
        """Take rows; when the owner has not come for them for long, new ones are dropped and counted."""
        if len(self._rows) >= self._rows_most:
            self.dropped += sum(1 for _ in rows)
            return
        self._rows.extend(rows)

    def drain(self) -> list[Row]:
        """All rows that are here now."""
        return [self._rows.popleft() for _ in range(len(self._rows))]


class Stop:
    """Asked to stop by a signal or another thread; the owner sleeps on it."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)  # noqa: FBT003  # the name of the argument is the method's
        self.asked = False
        self.signal = 0  # which one asked, if one did
        self._handlers: dict[int, Any] = {}  # what `signal.signal` gives and takes

    def ask(self, number: int = 0, _frame: object = None) -> None:
        """Stop; may be used as a signal handler."""
        self.asked = True
        self.signal = self.signal or number
        try:
            self._write.send(b"x")
        except OSError:
            return  # full or closed: it is awake already

    def on_signals(self) -> None:
        """Stop at SIGTERM and SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, self.ask)

    def wait(self, seconds: float) -> bool:
        """Sleep; True when asked to stop."""
        if not self.asked and seconds > 0:
            select.select([self._read], [], [], seconds)
        return self.asked

    def close(self) -> None:
        """Put the signals back as they were, and let go of the sockets."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._read.close()
        self._write.close()


class Sampler:
    """Asks sources on time and hands their rows to a sink, at most `DRAIN_S` later."""

    def __init__(self, sink: Sink, clock: AnchoredClock, *, host: str, tell: Callable[[str], None]) -> None:
        self._sink = sink
        self._clock = clock
        self._host = host
        self._tell = tell
        self._outbox = Outbox()
        self._grid = Grid(clock.now_ns())
        self._ending = threading.Event()
        self._workers: list[Worker] = []
        self._groups: dict[str, Worker] = {}
        self._adding = threading.Lock()
        self._hung: dict[int, str] = {}
        self._offset_due = Cadence(1.0)
        self._last_offset_ns: int | None = None
        self._dropped_told = 0

    def add(self, source: Source, group: str) -> None:
        """Ask this source from now on; the sources of a group share a thread while none of them is slow.

        May be called from any thread, at any time: sources come and go during a run.
        """
        entry = Scheduled(source, self._grid.after(self._clock.now_ns(), min(source.every_s, FIRST_WITHIN_S)))
        with self._adding:
            worker = self._groups.get(group)
            if worker is None:
                self._groups[group] = self._start([entry])
            else:
                worker.add(entry)

    def run(self, stop: Stop, until_ns: int | None = None) -> None:
        """Write rows until asked to stop, or until the clock reaches `until_ns`; then let go of everything."""
        while not stop.wait(self._wait_s()):
            self._turn()
            if until_ns is not None and self._clock.now_ns() >= until_ns:
                break
        self._end()

    def _wait_s(self) -> float:
        now_ns = self._clock.now_ns()
        return (self._grid.after(now_ns, DRAIN_S) - now_ns) / NS_PER_S

    def _turn(self) -> None:
        now_ns = self._clock.now_ns()
        self._watch(now_ns)
        if self._offset_due.due(now_ns):
            self._outbox.put([self._clock_reading(now_ns)])
        self._write()

    def _write(self) -> None:
        rows = self._outbox.drain()
        if self._outbox.dropped > self._dropped_told:
            rows.append(self._event("rows_dropped", f"{self._outbox.dropped} rows: the disk is too slow"))
            self._dropped_told = self._outbox.dropped
        for row in rows:
            if isinstance(row, Event) and row.kind in TOLD:
                self._tell(printable(_sentence(row)))
        if rows:
            self._sink.take(rows)

    def _watch(self, now_ns: int) -> None:
        """Move sources away from a reading that hangs, and say so when it goes on."""
        with self._adding:
            for worker in list(self._workers):
                others = worker.release_others(now_ns)
                if others:
                    self._replace(worker, others)
        for worker in self._workers:
            self._watch_hung(worker, now_ns)

    def _replace(self, worker: Worker, others: list[Scheduled]) -> None:
        fresh = self._start(others)
        for group, owner in self._groups.items():
            if owner is worker:
                self._groups[group] = fresh

    def _watch_hung(self, worker: Worker, now_ns: int) -> None:
        reading, told = worker.reading, self._hung.get(id(worker))
        if reading is None:
            if told is not None:
                del self._hung[id(worker)]
                self._outbox.put([self._event("source_found", "the reading came back", told)])
            return
        source = reading.scheduled.source
        hung_s = (now_ns - reading.began_ns) / NS_PER_S
        if told is None and hung_s > max(HUNG_FIRST_TOLD_S, source.patience_s):
            self._hung[id(worker)] = source.name
            self._outbox.put(
                [self._event("source_hung", f"a reading has not come back for {hung_s:.0f} s", source.name)]
            )

    def _start(self, entries: list[Scheduled]) -> Worker:
        worker = Worker(entries, grid=self._grid, clock=self._clock, put=self._outbox.put, stop=self._ending)
        self._workers.append(worker)
        worker.start()
        return worker

    def _clock_reading(self, now_ns: int) -> ClockReading:
        offset_ns = self._clock.read_offset()
        moved_ns = 0 if self._last_offset_ns is None else offset_ns - self._last_offset_ns
        self._last_offset_ns = offset_ns
        step_ns = moved_ns if abs(moved_ns) > STEP_NS else 0
        return ClockReading(at_ns=now_ns, host=self._host, offset_ns=offset_ns, step_ns=step_ns)

    def _event(self, kind: str, detail: str, subject: str | None = None) -> Event:
        return Event(at_ns=self._clock.now_ns(), source=SAMPLER, kind=kind, subject=subject, detail=detail)

    def _end(self) -> None:
        """Write what there is first: closing a source may hang."""
        self._ending.set()
        self._write()
        for worker in self._workers:
            worker.join(0.3 if worker.reading is None else 0.05)
        self._write()
        self._sink.close()
        for worker in self._workers:
            if worker.reading is None:
                for source in worker.sources:
                    source.close()


TOLD = frozenset({"source_missing", "source_hung", "source_failed", "source_found", "gpu_lost", "gpu_vanished",
                  "gpu_found", "rows_dropped"})  # fmt: skip


def _sentence(event: Event) -> str:
    about = " ".join(part for part in (event.subject, event.server) if part)
    return f"{event.kind.replace('_', ' ')}: {about}: {event.detail}" if about else f"{event.kind}: {event.detail}"

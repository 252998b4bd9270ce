"""The sampler: many sources, a few threads, one owner that writes what they say.

Threads put rows into one outbox; the owner (the thread that calls `run`) takes them out twice a second, writes
them, reads the clocks, and looks whether a reading hangs. It is never held up by a source.
"""

from __future__ import annotations

import select
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, AnchoredClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.redaction import redact
from comfysoak_core.rows import ClockReading, Event, Row
from comfysoak_core.terminal import printable
from comfysoak_probes.config import Pause
from comfysoak_probes.sampling.crew import Crew, Grids
from comfysoak_probes.sampling.pauses import Pauses
from comfysoak_probes.sampling.suspension import suspended_ns
from comfysoak_probes.source import SAMPLER, Cadence, Kind, Source

LOOK_NS = 250 * NS_PER_MS  # so long others may wait behind a reading that has just been found to hang
WRITE_S = 0.5  # each write wakes cold code and the disk
OUTBOX_ROWS = 200_000
STEP_NS = 5 * NS_PER_MS  # the system clock moved more than this in a second: a step, no drift
STALLED_NS = NS_PER_S


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
    """Asks sources on time and hands their rows to a sink, at most half a second later.

    `pause`: each so often one kind of source is not asked for a while. `suspended`: how long this host slept (ns).
    """

    def __init__(
        self,
        sink: Sink,
        clock: AnchoredClock,
        *,
        host: str,
        tell: Callable[[str], None],
        pause: Pause | None = None,
        suspended: Callable[[], int] = suspended_ns,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._host = host
        self._tell = tell
        self._outbox = Outbox()
        start_ns = clock.now_ns()
        grids = Grids(start_ns)
        self._grid = grids.next()
        self._pauses = Pauses(pause, start_ns)
        self._crew = Crew(clock, grids, self._outbox.put, self._pauses)
        self._planned_ns = start_ns
        self._excused_ns = 0  # before this moment nobody here had any time
        self._suspended = suspended
        self._suspended_ns = suspended()
        self._offset_due = Cadence(1.0)
        self._write_due = Cadence(WRITE_S)
        self._last_offset_ns: int | None = None
        self._dropped_told = 0

    def add(self, source: Source, group: str, kind: Kind) -> None:
        """Ask this source from now on; the sources of a group share a thread while none of them is slow.

        May be called from any thread, at any time: sources come and go during a run.
        """
        self._crew.add(source, group, kind)

    def remove(self, source: Source) -> bool:
        """Ask this source no more, and close it as soon as it is not being read; False when it is not here.

        May be called from any thread, at any time, also by a source in its reading.
        """
        return self._crew.remove(source)

    def run(self, stop: Stop, until_ns: int | None = None) -> None:
        """Write rows until asked to stop, or until the clock reaches `until_ns`; then let go of everything."""
        while not stop.wait(self._wait_s()):
            self._turn()
            if until_ns is not None and self._clock.now_ns() >= until_ns:
                break
        self._end()

    def _wait_s(self) -> float:
        now_ns = self._clock.now_ns()
        self._planned_ns = self._grid.after(now_ns, LOOK_NS)
        return (self._planned_ns - now_ns) / NS_PER_S

    def _turn(self) -> None:
        now_ns = self._clock.now_ns()
        self._outbox.put(self._lost_time(now_ns))
        self._outbox.put(self._crew.watch(now_ns, self._excused_ns))
        if self._pauses.is_due(now_ns):
            self._outbox.put(self._pauses.turn(now_ns, self._crew.kinds))
        if self._offset_due.due(now_ns):
            self._outbox.put([self._clock_reading(now_ns)])
        if self._write_due.due(now_ns):
            self._write()

    def _lost_time(self, now_ns: int) -> list[Event]:
        """Events of a time in which nobody here had any: no reading is to blame for having taken long then."""
        events = []
        stalled_ns = now_ns - self._planned_ns
        if stalled_ns > STALLED_NS:
            detail = f"it had no time for {stalled_ns / NS_PER_S:.1f} s (stopped, or no CPU), and read nothing"
            events.append(self._event("sampler_stalled", detail, self._host))
        slept_ns = self._suspended() - self._suspended_ns
        if slept_ns > STALLED_NS:
            self._suspended_ns += slept_ns
            detail = f"it was suspended for {slept_ns / NS_PER_S:.1f} s, in which the clock of the run stood still"
            events.append(self._event("host_suspended", detail, self._host))
        if events:
            self._excused_ns = now_ns
        return events

    def _write(self) -> None:
        rows = self._outbox.drain()
        if self._outbox.dropped > self._dropped_told:
            rows.append(self._event("rows_dropped", f"{self._outbox.dropped} rows: the disk is too slow"))
            self._dropped_told = self._outbox.dropped
        for row in rows:
            if isinstance(row, Event) and row.kind in TOLD:
                self._tell(printable(redact(_sentence(row))))  # a server may say the token it was sent
        if rows:
            self._sink.take(rows)

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
        self._crew.stop()
        self._write()
        self._crew.wait()
        self._write()
        self._sink.close()
        self._crew.close()


TOLD = frozenset({"source_missing", "source_hung", "source_failed", "source_found", "gpu_lost", "gpu_vanished",
                  "gpu_found", "xid", "ecc_error", "xid_unheard", "rows_dropped", "rows_lost", "clock_step",
                  "sampler_stalled", "host_suspended", "gpu_twice"})  # fmt: skip


def _sentence(event: Event) -> str:
    about = " ".join(part for part in (event.subject, event.server) if part)
    return f"{event.kind.replace('_', ' ')}: {about}: {event.detail}" if about else f"{event.kind}: {event.detail}"

"""The threads that ask the sources: who is asked by whom, who hangs, who is back.

The sources of a group share a thread. One whose reading hangs keeps that thread for itself and the others get a fresh
one; once it has long been quick it goes back to them and its thread ends. So there are never more threads than
sources, and after a bad day no more than on a good one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, Clock
from comfysoak_core.rows import Event, Row
from comfysoak_probes.sampling.pauses import Pauses
from comfysoak_probes.sampling.worker import Grid, Scheduled, Worker
from comfysoak_probes.source import SAMPLER, Kind, Source, Unhurried

HUNG_FIRST_TOLD_S = 2.0
FIRST_WITHIN_NS = 100 * NS_PER_MS  # a new source is asked at once, however rarely after that
SPREAD_NS = 100 * NS_PER_MS


class Grids:
    """Grids that lie apart: threads that all wake up at once would wait for each other (and for the interpreter)."""

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._given = 0

    def next(self) -> Grid:
        """The first at the start, each further one in the middle of the widest gap that is left within 100 ms."""
        number, place, step = self._given, 0, SPREAD_NS
        self._given += 1
        while number and step:
            step //= 2
            place += step * (number & 1)
            number >>= 1
        return Grid(self._start_ns + place)


class Crew:
    """All threads of one sampler. `add` and `remove` may be called by any thread, the rest by its owner."""

    def __init__(self, clock: Clock, grids: Grids, put: Callable[[Iterable[Row]], None], pauses: Pauses) -> None:
        self._clock = clock
        self._grids = grids
        self._put = put
        self._pauses = pauses
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._groups: dict[str, Worker] = {}

    def add(self, source: Source, group: str, kind: Kind) -> None:
        """Ask this source from now on; the sources of a group share a thread while none of them is slow."""
        with self._lock:
            worker = self._groups.get(group)
            grid = self._grids.next() if worker is None else worker.grid
            every_s = source.every_s
            every_ns = round(every_s * NS_PER_S)
            due_ns = grid.after(self._clock.now_ns(), min(every_ns, FIRST_WITHIN_NS))
            rest = source if isinstance(source, Unhurried) else None
            entry = Scheduled(source, kind, group, due_ns, every_s, every_ns, rest)
            if worker is None or not worker.add([entry]):
                self._groups[group] = self._start([entry], grid)

    def remove(self, source: Source) -> bool:
        """Ask it no more, and close it as soon as it is not being read; False when it is not here."""
        with self._lock:
            return any(worker.remove(source) for worker in self._workers)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of which some source told more than events."""
        with self._lock:
            return frozenset(entry.kind for worker in self._workers for entry in worker.entries if entry.has_rows)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return len(self._workers)

    def watch(self, now_ns: int, excused_ns: int) -> list[Event]:
        """Move sources away from a reading that hangs, and back to the others; what is to be told of it.

        Time before `excused_ns` is nobody's fault.
        """
        events: list[Event] = []
        with self._lock:
            for worker in list(self._workers):
                if worker.is_over:
                    self._forget(worker)
                    continue
                if worker.reading is not None:
                    others = worker.release_others(now_ns, excused_ns)
                    if others:
                        self._groups[others[0].group] = self._start(others, worker.grid)
                suspect = worker.suspect
                if suspect is not None:
                    events += _told(suspect, worker.reads_since(suspect), now_ns, excused_ns)
                    self._reunite(worker, suspect, now_ns)
        return events

    def _forget(self, worker: Worker) -> None:
        self._workers.remove(worker)
        for group in [group for group, owner in self._groups.items() if owner is worker]:
            del self._groups[group]

    def _reunite(self, worker: Worker, entry: Scheduled, now_ns: int) -> None:
        """A source that hung once, back into the thread of its group; the thread it had is over then."""
        group = self._groups.get(entry.group)
        if group is None or group is worker or group.reading is not None:
            return
        if now_ns - entry.hung_ns >= round(entry.apart_s * NS_PER_S):
            group.add(worker.release_all())

    def _start(self, entries: list[Scheduled], grid: Grid) -> Worker:
        worker = Worker(entries, grid=grid, clock=self._clock, put=self._put, stop=self._ending, pauses=self._pauses)
        self._workers.append(worker)
        worker.start()
        return worker

    def stop(self) -> None:
        """No further reading begins."""
        self._ending.set()
        for worker in self._workers:
            worker.wake()

    def wait(self) -> None:
        """For readings that end soon; one that hangs is left behind."""
        for worker in self._workers:
            worker.join(0.3 if worker.reading is None else 0.05)

    def close(self) -> None:
        """Close all sources that are not being read."""
        for worker in self._workers:
            if worker.reading is None:
                for entry in worker.entries:
                    entry.source.close()


def _told(entry: Scheduled, since_ns: int | None, now_ns: int, excused_ns: int) -> list[Event]:
    """That a reading hangs, once, and that it came back."""
    if since_ns is None:
        if not entry.hung_told:
            return []
        entry.hung_told = False
        return [_event(entry, now_ns, "source_found", "the reading came back")]
    hung_s = (now_ns - max(since_ns, excused_ns)) / NS_PER_S
    if entry.hung_told or hung_s <= max(HUNG_FIRST_TOLD_S, entry.source.patience_s):
        return []
    entry.hung_told = True
    return [_event(entry, now_ns, "source_hung", f"a reading has not come back for {hung_s:.0f} s")]


def _event(entry: Scheduled, at_ns: int, kind: str, detail: str) -> Event:
    return Event(at_ns=at_ns, source=SAMPLER, kind=kind, subject=entry.source.name, detail=detail)

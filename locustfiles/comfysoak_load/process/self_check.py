"""The load process about itself, once a second: a generator that cannot keep up measures itself, not the server."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gevent

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Generator
from comfysoak_load.edge.handles import handle_limit

LAG_STEP_S = 0.02
_COUNTED_HANDLES = 2000  # counting them takes a millisecond per thousand: with more of them, every tenth second


class SelfCheck:
    """Writes a `Generator` row and flushes the journal each second; `each_second` is called before that."""

    def __init__(
        self,
        worker: str,
        clock: AnchoredClock,
        journal: Journal,
        *,
        users: Callable[[], int],
        sockets: Callable[[], int],
        in_flight: Callable[[], int],
        each_second: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._clock = clock
        self._journal = journal
        self._users = users
        self._sockets = sockets
        self._in_flight = in_flight
        self._each_second = each_second
        self._greenlets: list[gevent.Greenlet] = []
        self._lag_max_ns = self._lateness_max_ns = 0
        self._cpu_s = time.process_time()
        self._since_ns = clock.now_ns()
        self._handles: int | None = None
        self._seconds = 0

    def start(self) -> None:
        """Begin; needs a running hub."""
        self._greenlets = [gevent.spawn(self._feel_lag), gevent.spawn(self._tick)]

    def stop(self) -> None:
        """Write the last row and end."""
        gevent.killall(self._greenlets, block=False)
        self._write()

    def left_late(self, late_ns: int) -> None:
        """A prompt left so much later than it was due."""
        self._lateness_max_ns = max(self._lateness_max_ns, late_ns)

    def _feel_lag(self) -> None:
        """Sleep, and see how much later than asked for the event loop wakes us."""
        step_ns = round(LAG_STEP_S * NS_PER_S)
        while True:
            before = self._clock.now_ns()
            gevent.sleep(LAG_STEP_S)
            self._lag_max_ns = max(self._lag_max_ns, self._clock.now_ns() - before - step_ns)

    def _tick(self) -> None:
        next_ns = self._clock.now_ns() + NS_PER_S
        while True:
            gevent.sleep(max(next_ns - self._clock.now_ns(), 0) / NS_PER_S)
            next_ns = max(next_ns + NS_PER_S, self._clock.now_ns())
            self._clock.read_offset()
            self._each_second()
            self._write()
            self._journal.flush()

    def _write(self) -> None:
        now, cpu_s = self._clock.now_ns(), time.process_time()
        elapsed_s = max((now - self._since_ns) / NS_PER_S, 1e-3)
        sockets = self._sockets()
        if sockets < _COUNTED_HANDLES or self._seconds % 10 == 0:
            self._handles = _open_handles()
        self._seconds += 1
        self._journal.add(
            Generator(
                at_ns=now,
                worker=self._worker,
                pid=os.getpid(),
                users=self._users(),
                sockets=sockets,
                in_flight=self._in_flight(),
                cpu_ratio=(cpu_s - self._cpu_s) / elapsed_s,
                lag_max_ns=self._lag_max_ns,
                lateness_max_ns=self._lateness_max_ns,
                handles=self._handles,
                handle_limit=handle_limit(),
                rss_bytes=_rss_bytes(),
                journal_errors=self._journal.errors,
                rows_dropped=self._journal.rows_dropped,
            )
        )
        self._lag_max_ns = self._lateness_max_ns = 0
        self._cpu_s, self._since_ns = cpu_s, now


def _open_handles() -> int | None:
    folder = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    try:
        return len(os.listdir(folder))  # noqa: PTH208  # a name a handle is all that is wanted
    except OSError:
        return None


def _rss_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import psutil

        return int(psutil.Process().memory_info().rss)

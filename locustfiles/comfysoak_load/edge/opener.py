"""Opens sockets when their time has come: so many at once, so many a second, by greenlets that live no longer."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import gevent
import gevent.event
import gevent.pool

from comfysoak_core.clock import NS_PER_S, Clock


class Opener:
    """At most `at_once` openings at a time and `per_s` a second; None: no bound.

    Thousands of sockets that a server has dropped at once wait here, for 100 bytes each.
    """

    def __init__(self, clock: Clock, *, at_once: int | None = None, per_s: float | None = None) -> None:
        self.per_s = per_s
        self._clock = clock
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = count()
        self._pool = gevent.pool.Pool(at_once)
        self._wake = gevent.event.Event()
        self._greenlet: gevent.Greenlet | None = None

    def ask(self, open_it: Callable[[], None], after_s: float = 0.0) -> None:
        """Call `open_it` in a greenlet of its own after `after_s`; never blocks."""
        heapq.heappush(self._due, (self._clock.now_ns() + round(after_s * NS_PER_S), next(self._serial), open_it))
        self._wake.set()

    def start(self) -> None:
        """Begin; needs a running hub."""
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """End; what waits is not opened any more."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
        self._due.clear()

    def _run(self) -> None:
        while True:
            self._wake.clear()
            self._wake.wait(self._open_what_is_due())

    def _open_what_is_due(self) -> float | None:
        """Begin all openings that are due; seconds to the next, None while there is none."""
        while self._due:
            left_ns = self._due[0][0] - self._clock.now_ns()
            if left_ns > 0:
                return left_ns / NS_PER_S
            self._pool.wait_available()
            if not self._due:  # stopped meanwhile
                return None
            _, _, open_it = heapq.heappop(self._due)
            self._pool.start(gevent.Greenlet(open_it))
            if self.per_s is not None:
                gevent.sleep(1 / self.per_s)
        return None

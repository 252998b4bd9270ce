"""Is a server quiet because nothing happens, or because it tells nobody? Asked by HTTP when all sockets are silent."""

from __future__ import annotations

from collections.abc import Sequence

import gevent

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import Connection

QUIET_NS = 2 * NS_PER_S
AGAIN_NS = NS_PER_S
LONGEST_NS = 30 * NS_PER_S


class Quiet:
    """One server. Its queue as told on sockets is compared with GET /prompt.

    Where they differ twice in a row and no socket was told anything in between, something has happened that all
    should have been told of.
    """

    def __init__(self, target: Target, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._due_ns = 0
        self._pause_ns = QUIET_NS
        self._differed_ns: int | None = None
        self._asking = False

    def look(self, ears: Sequence[Connection], now_ns: int) -> None:
        """Ask, if all have been silent for long enough; never blocks."""
        last = max(ears, key=lambda ear: ear.told_ns)
        if now_ns - last.told_ns < QUIET_NS:
            self._pause_ns, self._due_ns, self._differed_ns = QUIET_NS, 0, None
        elif now_ns >= self._due_ns and not self._asking:
            self._asking = True
            gevent.spawn(self._ask, last, now_ns)

    def _ask(self, last: Connection, asked_ns: int) -> None:
        try:
            remaining = self._target.ask_remaining()
        finally:
            self._asking = False
        differs = remaining is not None and last.queue_remaining is not None and remaining != last.queue_remaining
        if last.told_ns >= asked_ns or not differs:
            self._differed_ns = None
            self._pause_ns = min(2 * self._pause_ns, LONGEST_NS)
            self._due_ns = self._clock.now_ns() + self._pause_ns
            return
        if self._differed_ns is None:
            self._differed_ns = asked_ns
        elif last.told_ns < self._differed_ns:
            self._target.must_tell(self._differed_ns)
            self._differed_ns = None
        self._due_ns = self._clock.now_ns() + AGAIN_NS

"""The clients of open load: those with nothing to do, a few opened ahead of need, and none kept for long without.

Each holds a socket, and a server sends each socket three `status` messages a prompt: idle ones are not free.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import gevent

from comfysoak_core.clock import NS_PER_S
from comfysoak_load.client import Client
from comfysoak_load.gateway.client import new_client
from comfysoak_load.prompts.told import Fire

if TYPE_CHECKING:
    from comfysoak_load.process.load_process import LoadProcess

TEND_EVERY_S = 0.1
AHEAD_LEAST, AHEAD_MOST = 4, 32  # kept open ahead: as many as were taken between the last two looks
IDLE_MOST_S = 30.0


class Pool:
    """Hands out clients, the one used last first, so that those not needed stay idle and can go."""

    def __init__(self, process: LoadProcess, fire: Fire) -> None:
        self._process = process
        self._fire = fire
        self._idle: deque[tuple[int, Client]] = deque()  # (since when, client), the one used last at the end
        self._taken = 0  # since the last look
        self._ahead = AHEAD_LEAST
        self._busy = 0
        self._most = AHEAD_LEAST
        self._tending: gevent.Greenlet | None = None

    def open(self, most: int) -> None:
        """Keep clients ready from now on, with those that are busy never more than `most`."""
        self._most = most
        if self._tending is None:
            self._tending = gevent.spawn(self._tend)

    def close(self) -> None:
        """Open no more ahead; who has nothing to do leaves, and the others when they are given back."""
        if self._tending is not None:
            self._tending.kill(block=False)
            self._tending = None
        while self._idle:
            self._idle.pop()[1].leave()

    def take(self) -> Client:
        """A client with nothing to do; a new one, whose socket still opens, when there is none."""
        self._taken += 1
        self._busy += 1
        return self._idle.pop()[1] if self._idle else self._new()

    def give_back(self, client: Client) -> None:
        """It has nothing to do any more."""
        self._busy -= 1
        if self._tending is None:
            client.leave()
        else:
            self._idle.append((self._process.clock.now_ns(), client))

    def refill(self) -> None:
        """Begin to open one more, if too few are ready: one at a time, as a burst of them would make arrivals late."""
        if len(self._idle) < min(self._ahead, self._most - self._busy):
            self._idle.appendleft((self._process.clock.now_ns(), self._new()))

    def _new(self) -> Client:
        client = new_client(self._process, self._fire)
        client.connect()
        return client

    def _tend(self) -> None:
        while True:
            self._ahead = min(max(self._taken, AHEAD_LEAST), AHEAD_MOST)
            self._taken = 0
            self.refill()
            self._let_go()
            gevent.sleep(TEND_EVERY_S)

    def _let_go(self) -> None:
        long_ago_ns = self._process.clock.now_ns() - round(IDLE_MOST_S * NS_PER_S)
        while len(self._idle) > self._ahead and self._idle[0][0] < long_ago_ns:
            self._idle.popleft()[1].leave()

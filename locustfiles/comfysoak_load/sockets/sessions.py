"""The sessions of a scenario in one process: its share of watchers, churn, stalled readers and reconnects."""

from __future__ import annotations

import heapq
import random
from itertools import count

import gevent

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.sessions import ReconnectOrder, Reconnects, Sessions
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.told import Fire
from comfysoak_load.sockets.connection import Connection
from comfysoak_load.sockets.registry import WATCHERS_PER_S
from comfysoak_load.sockets.stalled import StalledReader

PROGRESS_EVERY_S = 10.0


class SessionLoad:
    """The part of one process among those that share the sessions; `begin` says which, and of how many."""

    def __init__(self, process: LoadProcess, sessions: Sessions, fire: Fire) -> None:
        self._process = process
        self._sessions = sessions
        self._fire = fire
        self._part = 0
        self._parts = 0
        self._watchers: list[Connection] = []
        self._numbers = random.Random(f"{process.plan.seed}/sessions/{process.index}")
        self._readers: list[StalledReader] = []
        self._greenlets: list[gevent.Greenlet] = []

    def begin(self, part: int, parts: int, *, attended: bool) -> None:
        """Be part `part` of `parts` from now on; while it is not `attended` all sockets are away."""
        if not attended:
            self._part = self._parts = 0
            self._end_greenlets()
            self._hold(0)
            return
        if (part, parts) != (self._part, self._parts):
            self._part, self._parts = part, parts
            self._start_greenlets()
        self._hold(self._share(self._sessions.watchers))

    def stop(self) -> None:
        """No more; open sockets are closed by the process."""
        self._end_greenlets()

    def _share(self, number: int) -> int:
        """How many of a number of things are for this part."""
        return number // self._parts + (self._part < number % self._parts)

    def _end_greenlets(self) -> None:
        """With the sockets that are theirs: nobody else would close them, or read again."""
        gevent.killall(self._greenlets)
        for reader in self._readers:
            reader.leave()
        self._greenlets, self._readers = [], []

    def _start_greenlets(self) -> None:
        self._end_greenlets()
        sessions, process = self._sessions, self._process
        process.sockets.patient.opener.per_s = WATCHERS_PER_S / self._parts
        if sessions.watchers:
            self._greenlets.append(gevent.spawn(self._tell_progress))
        if sessions.churn_per_s:
            self._greenlets.append(gevent.spawn(self._churn, sessions.churn_per_s / self._parts))
        if sessions.reconnects is not None:
            self._greenlets.append(gevent.spawn(self._reconnect, sessions.reconnects))
        if sessions.stalled is not None:
            for _ in range(self._share(sessions.stalled.sockets)):
                reader = StalledReader(process, sessions.stalled, self._fire)
                self._readers.append(reader)
                self._greenlets.append(gevent.spawn(reader.run))

    # Watchers: no greenlet each, and no Locust user

    def _hold(self, watchers: int) -> None:
        while len(self._watchers) < watchers:
            connection = self._process.watch()
            self._watchers.append(connection)
            connection.connect()
        while len(self._watchers) > watchers:
            self._process.part(self._watchers.pop())

    def _tell_progress(self) -> None:
        """An event when all watchers are open for the first time, and every ten seconds until then."""
        began_ns = self._process.clock.now_ns()
        for step in count(1):
            gevent.sleep(0.1)
            wanted = len(self._watchers)
            is_open = sum(connection.is_open.is_set() for connection in self._watchers)
            if is_open < wanted and step % round(PROGRESS_EVERY_S / 0.1):
                continue
            after_s = (self._process.clock.now_ns() - began_ns) / NS_PER_S
            self._process.event("watchers", detail=f"{is_open:,} of {wanted:,} are open after {after_s:.1f} s")
            if is_open >= wanted:
                return

    # Churn

    def _churn(self, per_s: float) -> None:
        """Open a socket when it is due, and close each when it has stayed long enough."""
        clock, leaving, serial = self._process.clock, list[tuple[int, int, Connection]](), count()
        due_ns = clock.now_ns()
        try:
            while True:
                now_ns = clock.now_ns()
                while leaving and leaving[0][0] <= now_ns:
                    self._process.part(heapq.heappop(leaving)[2])
                if due_ns <= now_ns:
                    number = next(serial)
                    stays_ns = round(self._numbers.uniform(*self._sessions.stays_s) * NS_PER_S)
                    heapq.heappush(leaving, (now_ns + stays_ns, number, self._open_one(number)))
                    due_ns += round(NS_PER_S / per_s)
                next_ns = min(due_ns, leaving[0][0]) if leaving else due_ns
                gevent.sleep(max(next_ns - clock.now_ns(), 0) / NS_PER_S)
        finally:
            for _, _, connection in leaving:
                self._process.part(connection)

    def _open_one(self, number: int) -> Connection:
        targets = self._process.targets
        connection = self._process.sockets.make(targets[(number + self._part) % len(targets)], "churn", returns=False)
        connection.connect()
        return connection

    # Reconnects

    def _reconnect(self, asked: Reconnects) -> None:
        orders = [asked.order] if asked.order is not None else list(ReconnectOrder)
        turn = count()
        while True:
            gevent.sleep(asked.every_s)
            connected = sorted(self._process.sockets.of("user", "watcher"), key=lambda found: found.session_id)
            chosen = self._numbers.sample(connected, max(round(len(connected) * asked.share), min(len(connected), 1)))
            for connection in chosen:
                connection.reconnect(orders[next(turn) % len(orders)])

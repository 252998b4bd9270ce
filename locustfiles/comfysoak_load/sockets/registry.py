"""All WebSockets of one process: made, watched over, and closed here."""

from __future__ import annotations

from collections import defaultdict

import gevent

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.silence import Seen, Silence
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Event
from comfysoak_load.edge.opener import Opener
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import Connection
from comfysoak_load.sockets.keepalive import Keepalive
from comfysoak_load.sockets.quiet import Quiet
from comfysoak_load.sockets.upkeep import Upkeep

WATCHERS_AT_ONCE = 32  # openings on their way at a time, of sockets for which nobody waits
WATCHERS_PER_S = 200.0
CLOSE_WITHIN_S = 1.0
LOOK_EVERY_S = 0.5
ASK_EVERY_NS = NS_PER_S  # while nobody is told anything, prompts ask for themselves
_ZOMBIE = "told nothing while other sockets of this server were, and pings are answered"
_PROBE = "told nothing, as all sockets of this server: closed to see whether a new one is"


class Sockets:
    """`worker` and `journal`: who tells of them, and where."""

    def __init__(self, worker: str, clock: AnchoredClock, journal: Journal) -> None:
        self._clock = clock
        self._journal = journal
        self._worker = worker
        self.keepalive = Keepalive(clock)
        self._users = Upkeep(worker, clock, journal, self.keepalive, Opener(clock))
        self.patient = Upkeep(
            worker, clock, journal, self.keepalive, Opener(clock, at_once=WATCHERS_AT_ONCE, per_s=WATCHERS_PER_S)
        )
        self._connections: set[Connection] = set()
        self._parting: set[Connection] = set()  # left for good, and not closed yet
        self._silences: dict[Target, Silence[Connection]] = {}
        self._quiets: dict[Target, Quiet] = {}
        self._asked_ns: dict[Target, int] = {}
        self._nobody: dict[Target, int] = {}  # since when a server tells nobody anything
        self._watching: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to look after them; needs a running hub."""
        self.keepalive.start()
        self._users.opener.start()
        self.patient.opener.start()
        self._watching = gevent.spawn(self._watch)

    @property
    def open_count(self) -> int:
        """How many are open."""
        return sum(connection.is_open.is_set() for connection in self._connections)

    @property
    def held_count(self) -> int:
        """How many there are, also those that are opening or closing."""
        return len(self._connections) + sum(not connection.is_closed for connection in self._parting)

    def of(self, *roles: str) -> list[Connection]:
        """Those that are open, of these roles."""
        return [found for found in self._connections if found.role in roles and found.is_open.is_set()]

    def make(
        self,
        target: Target,
        role: str,
        *,
        patient: bool = False,
        returns: bool = True,
        small_buffers: bool = False,
    ) -> Connection:
        """A connection, not yet open; `part` with it at the end. `patient`: it opens when it is its turn."""
        upkeep = self.patient if patient else self._users
        connection = Connection(target, role, upkeep, returns=returns, small_buffers=small_buffers)
        self._connections.add(connection)
        return connection

    def part(self, connection: Connection) -> None:
        """Nobody needs it any more: begin to close its socket."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._parting.add(connection)
            connection.leave()

    def stop(self) -> None:
        """Close all of them, with a bound."""
        if self._watching is not None:
            self._watching.kill(block=False)
        self._users.opener.stop()
        self.patient.opener.stop()
        for connection in tuple(self._connections):
            self.part(connection)
        give_up_ns = self._clock.now_ns() + round(CLOSE_WITHIN_S * NS_PER_S)
        while self._clock.now_ns() < give_up_ns and not all(connection.is_closed for connection in self._parting):
            gevent.sleep(0.02)
        for connection in self._parting:
            connection.drop()
        for target in tuple(self._nobody):
            self._tell_over(target)
        self.keepalive.stop()

    # Silence: who is told nothing?

    def _watch(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY_S)
            self._parting = {found for found in self._parting if not found.is_closed}
            self.look(self._clock.now_ns())

    def look(self, now_ns: int) -> None:
        """Look for sockets that are told nothing."""
        ears: dict[Target, list[Connection]] = defaultdict(list)
        for connection in self._connections:
            if connection.hears and not connection.target.address.several:  # two servers tell different things
                ears[connection.target].append(connection)
        for target, listening in ears.items():
            silence = self._silences.setdefault(target, Silence())
            self._quiets.setdefault(target, Quiet(target, self._clock)).look(listening, now_ns)
            silence.must_tell(target.news_ns)
            seen = silence.look(listening, now_ns)
            self._act(target, seen)
            if seen.deaf and now_ns >= self._asked_ns.get(target, 0) + ASK_EVERY_NS:
                self._asked_ns[target] = now_ns
                for connection in seen.deaf:
                    connection.ask_history()

    def _act(self, target: Target, seen: Seen[Connection]) -> None:
        for connection in seen.ping:
            connection.ping()
        for connection in seen.zombies:
            self._event("zombie", target, connection.session_id, Code.WS_ZOMBIE, _ZOMBIE)
            connection.replace_silent(_ZOMBIE, Code.WS_ZOMBIE)
        if seen.probe is not None:
            self._event("silent", target, seen.probe.session_id, None, _PROBE)
            seen.probe.replace_silent(_PROBE, None)
        if seen.nobody_since_ns is not None:
            self._nobody[target] = seen.nobody_since_ns
            detail = f"{seen.silent} sockets were told nothing while prompts were taken, a new one among them"
            self._event("head_of_line", target, None, Code.WS_HEAD_OF_LINE, detail, seen.nobody_since_ns)
        if seen.over:
            self._tell_over(target)

    def _tell_over(self, target: Target) -> None:
        since_ns = self._nobody.pop(target, None)
        if since_ns is not None:
            lasted_s = (self._clock.now_ns() - since_ns) / NS_PER_S
            self._event("head_of_line_over", target, None, None, f"nobody was told anything for {lasted_s:.1f} s")

    def _event(
        self, kind: str, target: Target, subject: str | None, code: Code | None, detail: str, at_ns: int | None = None
    ) -> None:
        at_ns = self._clock.now_ns() if at_ns is None else at_ns
        self._journal.add(
            Event(
                at_ns=at_ns,
                source=self._worker,
                kind=kind,
                server=target.url,
                subject=subject,
                code=code,
                detail=detail,
            )
        )

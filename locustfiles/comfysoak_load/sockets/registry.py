"""All WebSockets of one process: made, watched over, and closed here."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import gevent

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.silence import Seen, Silence
from comfysoak_core.recording.journal import Journal
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


@dataclass(slots=True)
class _Watched:
    """One server, as its sockets show whether it tells anybody anything."""

    quiet: Quiet
    silence: Silence[Connection] = field(default_factory=Silence)
    asked_ns: int = 0  # when prompts last asked for themselves
    nobody_since_ns: int | None = None  # since when it tells nobody anything


class Sockets:
    """`worker` and `journal`: who tells of them, and where."""

    def __init__(self, worker: str, clock: AnchoredClock, journal: Journal) -> None:
        self._clock = clock
        self.keepalive = Keepalive(clock)
        self._users = Upkeep(worker, clock, journal, self.keepalive, Opener(clock))
        self.patient = Upkeep(
            worker, clock, journal, self.keepalive, Opener(clock, at_once=WATCHERS_AT_ONCE, per_s=WATCHERS_PER_S)
        )
        self._connections: set[Connection] = set()
        self._parting: set[Connection] = set()  # left for good, and not closed yet
        self._watched: dict[Target, _Watched] = {}
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
        for target, watched in self._watched.items():
            self._tell_over(target, watched)
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
            if target not in self._watched:
                self._watched[target] = _Watched(Quiet(target, self._clock))
            watched = self._watched[target]
            watched.quiet.look(listening, now_ns)
            watched.silence.must_tell(target.news_ns)
            seen = watched.silence.look(listening, now_ns)
            self._act(target, watched, seen)
            if seen.deaf and now_ns >= watched.asked_ns + ASK_EVERY_NS:
                watched.asked_ns = now_ns
                for connection in seen.deaf:
                    connection.ask_history()

    def _act(self, target: Target, watched: _Watched, seen: Seen[Connection]) -> None:
        tell = self._users.tell
        for connection in seen.ping:
            connection.ping()
        for connection in seen.zombies:
            tell("zombie", target.url, connection.session_id, Code.WS_ZOMBIE, _ZOMBIE)
            connection.replace_silent(_ZOMBIE, Code.WS_ZOMBIE)
        if seen.probe is not None:
            tell("silent", target.url, seen.probe.session_id, None, _PROBE)
            seen.probe.replace_silent(_PROBE, None)
        if seen.nobody_since_ns is not None:
            watched.nobody_since_ns = seen.nobody_since_ns
            detail = f"{seen.silent} sockets were told nothing while prompts were taken, a new one among them"
            tell("head_of_line", target.url, None, Code.WS_HEAD_OF_LINE, detail, seen.nobody_since_ns)
        if seen.over:
            self._tell_over(target, watched)

    def _tell_over(self, target: Target, watched: _Watched) -> None:
        since_ns, watched.nobody_since_ns = watched.nobody_since_ns, None
        if since_ns is not None:
            detail = f"nobody was told anything for {(self._clock.now_ns() - since_ns) / NS_PER_S:.1f} s"
            self._users.tell("head_of_line_over", target.url, None, None, detail)

"""One target under watch: what its threads do, step by step, and the one lock over what it knows.

Answers wait for the lock alone, which nobody holds while asking a server.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from random import SystemRandom
from typing import Any, Final

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak.check.conversation.ear import Ear
from comfysoak.check.conversation.figures import seconds
from comfysoak.check.monitor.beat import Beat
from comfysoak.check.monitor.canary import Canary, Kind
from comfysoak.check.monitor.exposition import About, exposition
from comfysoak.check.monitor.happening import Happening, Tell
from comfysoak.check.monitor.held_sockets import HeldSockets
from comfysoak.check.monitor.looking import Looker, Sight
from comfysoak.check.monitor.readiness import not_ready
from comfysoak.check.monitor.rhythm import Clocks, Rhythm
from comfysoak.check.monitor.standing import Standing
from comfysoak.check.output.document import row_of
from comfysoak.check.row import Row, State
from comfysoak.check.rows import Part
from comfysoak.check.runner import rows_of
from comfysoak.check.settings import Settings
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.errors import ComfySoakError

HANGS_AFTER_S: Final = 600.0  # no look takes so long, whatever a server does
SOCKETS_EVERY_S: Final = 0.5

Read = Callable[[], Settings]


class Monitor:
    """One target. Its methods are the steps of the threads; `watch` runs them."""

    def __init__(self, read: Read, rhythm: Rhythm, tell: Tell, clocks: Clocks) -> None:
        self._read = read
        self.settings = read()
        self._rhythm = rhythm
        self._tell = tell
        self._clocks = clocks
        self._started_ns = clocks.utc_ns()
        self._lock = threading.Lock()
        self._standing = Standing(deadline_ns=round(self.settings.deadline_s * NS_PER_S))
        self._rows: dict[str, Row] = {}
        self._checking = self._new_checking()
        self._access: Access | None = None
        self._canary: Canary | None = None
        self._looker: Looker | None = None
        self._looker_access: Access | None = None
        self._refusals = 0
        self._unread = ""
        self._mistakes = 0
        self._wants_to_learn = True
        self._beat = Beat(round(rhythm.every_s * NS_PER_S), clocks.steady_ns())
        self._canary_beat = Beat(self._beat.every_ns, clocks.steady_ns())
        self._last_step_ns = clocks.steady_ns()
        self.threads: list[threading.Thread] = []
        self.sockets = HeldSockets(self._reached, clocks.steady_ns, tell, self._opened)

    # What it learns of the configuration (main thread)

    def learn(self) -> None:
        """The rows on the configuration, and by them what can be sent; told where they are other than before."""
        self._wants_to_learn = False
        checking = self._new_checking()
        rows = list(rows_of(Part.CONFIGURATION, checking))
        if checking.known.base_url is not None:
            access = Access.of(checking)
            has_moved = self._access is not None and access != self._access
            self._access, self._checking = access, checking
            self._canary = Canary(checking, SystemRandom())
            self._canary_beat.every_ns = round((self._canary_every_s or 1.0) * NS_PER_S)
            if has_moved:
                self.sockets.move()
        for row in rows:
            self._tell_row(row)
        with self._lock:
            is_first = self._standing.configured is None
            told = self._standing.configuration(checking.settings, None, self._clocks.utc_ns())
            if is_first:
                told = [self._whole_configuration()]
        self._tell_all(told)

    @property
    def is_reachable(self) -> bool:
        """Whether there is an address to ask."""
        return self._access is not None

    def _tell_row(self, row: Row) -> None:
        before = self._rows.get(row.kind.id)
        self._rows[row.kind.id] = row
        if before is None or before.state != row.state:
            is_fine = row.state in {State.OK, State.SKIPPED}
            remedy = f" {row.remedy}" if row.remedy else ""
            words = f"{row.state.value:<7} {row.kind.id}: {row.seen}{remedy}"
            self._tell(Happening("row", words, row_of(row), is_routine=is_fine))

    def _whole_configuration(self) -> Happening:
        now, settings = self._standing.configured, self.settings
        assert now is not None  # noqa: S101  # the caller has just made it
        told = {"COMFYUI_BASE_URL": settings.base_url, "COMFYUI_WORKFLOW": settings.workflow,
                "COMFYUI_WORKFLOW_NODES": settings.nodes, **settings.variables}  # fmt: skip
        sources = {name: given.source for name, given in told.items() if given is not None}
        parts = {name: digest[:12] for name, digest in now.open.items()}
        canary = self._canary.kind.value if self._canary is not None else None
        named = ", ".join(f"{name} from {source}" for name, source in sources.items()) or "no variable is set"
        words = f"hash {now.hash}; {named}; canary: {canary or 'none'}"
        fields: dict[str, Any] = {
            "hash": now.hash,
            "changed": [],
            "variables": sources,
            "parts": parts,
            "canary": canary,
        }
        return Happening("configuration", words, fields)

    # A look (its own thread)

    def look(self) -> None:
        """Look once, and fold what was seen."""
        settings = self._read_again()
        access = self._reached()
        looker = self._looker_of(access)
        refused = self.sockets.seen().refused
        if refused > self._refusals:
            looker.refused()
        self._refusals = refused
        with self._lock:
            is_suspicious = self._standing.worker.is_suspicious
            before = self._standing.last
        sight = looker.look(settings, read_log_too=is_suspicious)
        self._fold(sight, settings)
        if sight.generations and before is not None:
            self.sockets.must_tell(before.began_ns)

    def _fold(self, sight: Sight, settings: Settings) -> None:
        utc_ns = self._clocks.utc_ns()
        with self._lock:
            standing = self._standing
            was_up = standing.is_up
            standing.own(self._canary.in_flight if self._canary is not None else None)
            told = standing.saw(sight, utc_ns)
            told += standing.configuration(settings, sight, utc_ns)
            is_back = standing.is_up and not was_up
            if is_back:
                self.sockets.soon()
            if (is_back and was_up is not None) or sight.restarted:
                self._wants_to_learn = True  # it may have other nodes now
                self._canary_beat.soon(self._clocks.steady_ns())
        self._tell_all(told)

    def _looker_of(self, access: Access) -> Looker:
        if self._looker is None or self._looker_access != access:
            self.stop_looking()
            self._looker, self._looker_access = Looker(access, self._clocks.steady_ns), access
        return self._looker

    def stop_looking(self) -> None:
        """Close the connection of the looks."""
        if self._looker is not None:
            self._looker.close()

    def _read_again(self) -> Settings:
        """Files may have changed; where they cannot be read, what was read before holds."""
        try:
            now, unread = self._read(), ""
        except ComfySoakError as error:
            now, unread = self.settings, error.problems[0].what
        if unread and unread != self._unread:
            self._tell(Happening("configuration", f"cannot be read any more: {unread}", {"why": unread}))
        self._unread = unread
        if now != self.settings:
            self.settings, self._wants_to_learn = now, True
        return now

    # A canary (main thread)

    def mind_canary(self) -> None:
        """Learn where there is something to learn, and send a canary where one is due."""
        with self._lock:
            is_up, is_dead = self._standing.is_up is True, bool(self._standing.worker.evidence)
        is_due = self._clocks.steady_ns() >= self._canary_beat.due_ns
        known = self._checking.known
        is_half_known = not (known.answers and known.has_socket)  # as it was when it was looked at
        if self._wants_to_learn or (is_up and is_due and is_half_known):
            self.learn()
        if is_up and is_due and not is_dead and self._canary_every_s and self._canary is not None:
            self._send(self._canary)

    def _send(self, canary: Canary) -> None:
        began_ns = self._clocks.steady_ns()
        result = canary.send()
        with self._lock:
            told = self._standing.canary(result, self._clocks.utc_ns())
            failures = self._standing.canaries.failures
        if result.executed_s is not None:
            self.sockets.must_tell(began_ns)
        if failures:
            self._canary_beat.failed(
                self._clocks.steady_ns(), round(self._rhythm.pause_s(failures, result.kind) * NS_PER_S)
            )
        else:
            self._canary_beat.done(self._clocks.steady_ns())
        self._tell_all(told)

    @property
    def in_flight(self) -> str | None:
        """The canary that is on the server now."""
        return self._canary.in_flight if self._canary is not None else None

    @property
    def _canary_every_s(self) -> float:
        return self._rhythm.of_canaries(self._canary.kind if self._canary is not None else Kind.TINY)

    # What it is asked (the service's thread)

    def metrics(self) -> bytes:
        """The text for Prometheus."""
        why = self.not_ready()
        with self._lock:
            return exposition(self._standing, self.sockets.seen(), self._about(why))

    def not_ready(self) -> str:
        """Why the target cannot serve; empty: it can."""
        sockets = self.sockets.seen()
        with self._lock:
            return not_ready(self._standing, sockets, self._clocks.steady_ns(), self._rhythm.every_s)

    def ailing(self) -> str:
        """Why the monitor itself is not well; empty: it is."""
        dead = [thread.name for thread in self.threads if not thread.is_alive()]
        if dead:
            return f"a thread of the monitor has ended: {', '.join(dead)}"
        idle_s = (self._clocks.steady_ns() - self._last_step_ns) / NS_PER_S
        if self.threads and idle_s > self._rhythm.every_s + HANGS_AFTER_S:
            return f"a look hangs for {seconds(idle_s)}"
        return ""

    def _about(self, why: str) -> About:
        kind = self._canary.kind if self._canary is not None else Kind.TINY
        settings = self.settings
        return About(
            target=self._access.base_url if self._access is not None else "",
            gateway=settings.gateway.url if settings.gateway is not None else "",
            started_ns=self._started_ns,
            to_utc_ns=self._clocks.utc_ns() - self._clocks.steady_ns(),
            every_s=self._rhythm.every_s,
            canary_every_s=self._canary_every_s or None,
            canary_kind=kind.value,
            missed=self._beat.missed,
            mistakes=self._mistakes,
            rows=Counter(row.state for row in list(self._rows.values())),
            not_ready=why,
        )

    # Steps of the threads

    def keep_looking(self, is_over: threading.Event) -> None:
        """Look at each beat until the end."""
        while not is_over.wait(max(self._beat.due_ns - self._clocks.steady_ns(), 0) / NS_PER_S):
            self._last_step_ns = self._clocks.steady_ns()
            self.guarded(self.look)
            self._beat.done(self._clocks.steady_ns())

    def keep_sockets(self, is_over: threading.Event) -> None:
        """Mind the sockets until the end."""
        while not is_over.wait(SOCKETS_EVERY_S):
            self.guarded(self.sockets.tick)

    def guarded(self, step: Callable[[], None]) -> None:
        """Take a step; a mistake of ours in it is told, and ends nothing."""
        try:
            step()
        except Exception as error:  # noqa: BLE001  # a monitor goes on, whatever it is
            self._mistakes += 1
            if self._mistakes <= 20 or self._mistakes % 1000 == 0:
                words = f"a mistake of ours, please report it: {type(error).__name__}: {error}"
                self._tell(Happening("mistake", words, {"count": self._mistakes}))

    def _tell_all(self, told: list[Happening]) -> None:
        for one in told:
            self._tell(one)

    def _new_checking(self) -> Checking:
        return Checking(self.settings, say=lambda _: None, steady_ns=self._clocks.steady_ns)

    def _reached(self) -> Access:
        assert self._access is not None  # noqa: S101  # threads begin when there is one
        return self._access

    def _opened(self, access: Access, client_id: str) -> Ear:
        return Ear(access.socket_url(client_id), access.headers, self._clocks.steady_ns)

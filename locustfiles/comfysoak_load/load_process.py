"""What all users of one process share during one test: servers, workloads, journal, clock, and how it all ends."""

from __future__ import annotations

import logging
import os
import platform
import random
from collections.abc import Mapping
from pathlib import Path

import gevent
import gevent.pool

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.layout import Layout
from comfysoak_core.rows import Event
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_load.connection import Connection
from comfysoak_load.keepalive import Keepalive
from comfysoak_load.prompt_run import PromptRun
from comfysoak_load.self_check import SelfCheck
from comfysoak_load.target import Target
from comfysoak_load.withdraw import withdraw
from comfysoak_load.workloads import PreparedWorkload

CLOSE_WITHIN_S = 1.0
ABORT_WITHIN_S = 0.5
WAKE_EVERY_S = 0.1
MAX_TRACEBACKS = 3
_log = logging.getLogger("comfysoak")


class LoadProcess:
    """One process under one test, from `start` to `stop`. `index` numbers the processes of the test, from 0."""

    def __init__(
        self, plan: Plan, journal: Journal, clock: AnchoredClock, *, name: str = "load-0", index: int = 0
    ) -> None:
        self.plan = plan
        self.clock = clock
        self.journal = journal
        self.index = index
        self.worker = name
        self.phase: str | None = plan.stages[0].phase if plan.stages else None
        self.closing = False
        self.targets = tuple(Target(server, clock, _headers(plan)) for server in plan.servers)
        self.workloads = tuple(PreparedWorkload(workload, index) for workload in plan.workloads)
        self.leaving = gevent.pool.Group()  # users Locust has stopped, which finish their prompt
        self.keepalive = Keepalive(clock)
        self.self_check = SelfCheck(
            self.worker,
            clock,
            journal,
            users=lambda: self.users,
            sockets=lambda: sum(connection.is_open.is_set() for connection in self._connections),
            in_flight=lambda: len(self._runs),
            each_second=self._write_nodes,
        )
        self.users = 0
        self.own_errors = 0
        self._users_ever = 0
        self._waker: gevent.Greenlet | None = None
        self._runs: set[PromptRun] = set()
        self._connections: set[Connection] = set()
        self._parting: set[Connection] = set()  # users that are gone and whose sockets are not closed yet

    @property
    def in_flight(self) -> int:
        """Prompts that are open now."""
        return len(self._runs)

    def start(self) -> None:
        """Begin to watch ourselves; needs a running hub."""
        self.keepalive.start()
        self.self_check.start()
        self._waker = gevent.spawn(self._wake_what_is_due)

    def join(self, role: str) -> tuple[int, Connection]:
        """A new user: its number in this process, and a connection, not yet open, to the server whose turn it is."""
        number = self._users_ever
        self._users_ever += 1
        target = self.targets[(number + self.index) % len(self.targets)]
        connection = Connection(
            target, role, worker=self.worker, clock=self.clock, journal=self.journal, keepalive=self.keepalive
        )
        self._connections.add(connection)
        self.users += role == "user"
        return number, connection

    def part(self, connection: Connection) -> None:
        """The user of this connection is gone: begin to close its socket."""
        if connection in self._connections:
            self._connections.discard(connection)
            self.users -= connection.role == "user"
            connection.leave()
            self._parting = {found for found in (*self._parting, connection) if not found.is_closed}

    def draw(self, user: int | str, count: int) -> random.Random:
        """The random numbers of prompt number `count` of a user or a stage: the same in each run with the same seed."""
        return random.Random(f"{self.plan.seed}/{self.index}/{user}/{count}")

    def pick(self, numbers: random.Random) -> PreparedWorkload:
        """A workload of the mix, by weight."""
        weights = [workload.weight for workload in self.workloads]
        return numbers.choices(self.workloads, weights)[0]

    def begin(self, run: PromptRun) -> None:
        """A prompt is open."""
        self._runs.add(run)

    def end(self, run: PromptRun) -> None:
        """A prompt is over."""
        self._runs.discard(run)

    def restarted(self, target: Target, witness: PromptRun) -> None:
        """`witness` was given a number that shows that its server was restarted: all before it is lost."""
        self.event("restart", server=target.url, detail="queue numbers began again", code=Code.SERVER_RESTARTED)
        for run in tuple(self._runs):
            if run.target is target and run is not witness and run.was_accepted:
                run.lose_to_restart()

    def enter(self, stage: Stage, number: int) -> None:
        """A stage begins; to be called in one process only, as it is journalled."""
        self.event(
            "phase",
            subject=stage.phase,
            detail=f"stage {number + 1} of {len(self.plan.stages)}: {stage.load_in_words} for {stage.duration_s:g} s",
        )

    def event(
        self,
        kind: str,
        *,
        server: str | None = None,
        subject: str | None = None,
        code: Code | None = None,
        detail: str = "",
    ) -> None:
        """Journal an event of this process."""
        at_ns = self.clock.now_ns()
        self.journal.add(
            Event(at_ns=at_ns, source=self.worker, kind=kind, server=server, subject=subject, code=code, detail=detail)
        )

    def own_error(self, error: Exception) -> None:
        """A prompt broke off by an error that nobody expected: an event, and at first its traceback in the log."""
        self.own_errors += 1
        self.event("own_error", detail=f"{type(error).__name__}: {error}"[:500])
        if self.own_errors <= MAX_TRACEBACKS:
            _log.error("A prompt broke off by an error of ComfySoak or of the locustfile:", exc_info=error)

    def stop(self, grace_s: float) -> None:
        """End: open prompts get `grace_s`, then are taken back and aborted; sockets close; the journal closes."""
        self.closing = True
        give_up_ns = self.clock.now_ns() + round(grace_s * NS_PER_S)
        while self._runs and self.clock.now_ns() < give_up_ns:
            gevent.sleep(0.02)
        self._abort_open_prompts()
        self._close_sockets()
        self.keepalive.stop()
        self.self_check.stop()
        if self._waker is not None:
            self._waker.kill(block=False)
        for target in self.targets:
            target.close()
        self.journal.close()

    def _abort_open_prompts(self) -> None:
        if not self._runs:
            return
        withdraw(self._runs)
        for run in tuple(self._runs):
            run.stop()
        self.leaving.join(timeout=ABORT_WITHIN_S)
        self.leaving.kill(timeout=ABORT_WITHIN_S)

    def _close_sockets(self) -> None:
        for connection in tuple(self._connections):
            self.part(connection)
        give_up_ns = self.clock.now_ns() + round(CLOSE_WITHIN_S * NS_PER_S)
        while self.clock.now_ns() < give_up_ns and not all(connection.is_closed for connection in self._parting):
            gevent.sleep(0.02)
        for connection in self._parting:
            connection.drop()

    def _wake_what_is_due(self) -> None:
        """One clock for all: deadlines of prompts and of HTTP exchanges, to a tenth of a second."""
        while True:
            gevent.sleep(WAKE_EVERY_S)
            now_ns = self.clock.now_ns()
            for run in self._runs:
                run.wake_if_due(now_ns)
            for target in self.targets:
                target.http.expire()

    def _write_nodes(self) -> None:
        for run in tuple(self._runs):
            run.write_nodes()


def new_journal(run_dir: Path, clock: AnchoredClock, name: str) -> Journal:
    """The journal of the load process of this name in a run directory."""
    return Journal(Layout(run_dir).journal, host=platform.node() or "localhost", process=name, clock=clock)


def _headers(plan: Plan) -> Mapping[str, str]:
    """The authorisation the plan names by its environment variable."""
    token = os.environ.get(plan.token_variable or "", "")
    return {"Authorization": f"Bearer {token}"} if token else {}

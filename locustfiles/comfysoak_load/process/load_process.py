"""What all users of one process share during one test: servers, workloads, journal, clock, and how it all ends."""

from __future__ import annotations

import logging
import os
import random
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import gevent
import gevent.event
import gevent.pool

from comfysoak_core.clock import NS_PER_S, AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.address import Fall
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.layout import Layout, host_name
from comfysoak_core.rows import Event, Outcome
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Block
from comfysoak_load.gateway.side import GatewaySide
from comfysoak_load.process.self_check import SelfCheck
from comfysoak_load.prompts.abort import abort
from comfysoak_load.prompts.prompt_run import PromptRun
from comfysoak_load.prompts.workloads import PreparedWorkload, chosen
from comfysoak_load.servers.fleet import Fleet
from comfysoak_load.servers.seat import Seat
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import Connection
from comfysoak_load.sockets.registry import Sockets

ABORT_WITHIN_S = 0.5
WAKE_EVERY_S = 0.1
MAX_TRACEBACKS = 3
OVERDUE_KEPT = 10_000  # prompts that timed out are taken back at the end: the last so many
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
        self.block: Block | None = None  # of `run --ab`
        self.closing = False
        self._is_hurried = False
        self.sending = gevent.event.Event()  # while it is not set, users pause before their next prompt
        self.sending.set()
        self.under_load = gevent.event.Event()  # while it is not set, nobody of open load tries again
        self.under_load.set()
        self.held_back: set[gevent.Greenlet] = set()  # who waits for that
        self.fleet = Fleet(
            [Target(server, clock, _headers(plan)) for server in plan.servers],
            plan,
            worker=name,
            turn=index,
            clock=clock,
            journal=journal,
        )
        self.gateway: GatewaySide | None = None  # prompts go through it, and not to the servers
        if plan.gateway is not None:
            self.gateway = GatewaySide(plan.gateway, plan.workloads, self.targets, clock)
        self.workloads = tuple(PreparedWorkload(one, index) for one in plan.workloads if one.images is None)
        self.leaving = (
            gevent.pool.Group()
        )  # stopped users that finish their prompt, and prompts that their users have left
        self.sockets = Sockets(name, clock, journal)
        self.self_check = SelfCheck(
            self.worker,
            clock,
            journal,
            users=lambda: self.users,
            sockets=lambda: self.sockets.open_count,
            in_flight=lambda: self.in_flight,
            each_second=self._write_nodes,
        )
        self.users = 0
        self.own_errors = 0
        self._users_ever = 0
        self._watchers_ever = 0
        self._judging: set[Target] = set()  # whose numbers fell: restarted, or several?
        self._waker: gevent.Greenlet | None = None
        self._runs: set[PromptRun] = set()
        self._overdue: deque[tuple[Target, str]] = deque(maxlen=OVERDUE_KEPT)  # timed out, and perhaps still there

    @property
    def in_flight(self) -> int:
        """Prompts that are open now."""
        return len(self._runs) + (0 if self.gateway is None else self.gateway.in_flight)

    def start(self) -> None:
        """Begin to watch ourselves; needs a running hub."""
        self.sockets.start()
        self.self_check.start()
        self.fleet.start()
        if self.gateway is not None:
            self.gateway.witness.start()
        self._waker = gevent.spawn(self._wake_what_is_due)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The servers of the test."""
        return self.fleet.targets

    def seat(self) -> Seat:
        """A place for a new user."""
        self.users += 1
        self._users_ever += 1
        return Seat(self, self._users_ever - 1)

    def watch(self) -> Connection:
        """A connection for one who only listens, not yet open, to the server whose turn it is."""
        self._watchers_ever += 1
        target = self.targets[(self._watchers_ever - 1 + self.index) % len(self.targets)]
        return self.sockets.make(target, "watcher", patient=True)

    def connection(self, target: Target, role: str) -> Connection:
        """A connection to a server, not yet open; `part` with it at the end."""
        return self.sockets.make(target, role)

    def part(self, connection: Connection) -> None:
        """The user of this connection is gone: begin to close its socket."""
        self.sockets.part(connection)

    def draw(self, user: int | str, count: int) -> random.Random:
        """The random numbers of prompt number `count` of a user or a stage: the same in each run with the same seed."""
        return random.Random(f"{self.plan.seed}/{self.index}/{user}/{count}")

    def begin_block(self, block: Block | None) -> None:
        """From now on prompts go to the server of this block alone; None: to all."""
        self.block = block
        self.fleet.send_only_to(None if block is None else block.server)

    def workload(self, name: str | None, numbers: random.Random) -> PreparedWorkload:
        """The workload of this name; for None one of the mix, by weight. ValueError when there is none."""
        return chosen(self.workloads, name, numbers)

    def intended(self, name: str | None, numbers: random.Random) -> tuple[str, Outcome]:
        """Name and expected outcome of the workload that these numbers choose, for a prompt that is not sent."""
        workload = self.workload(name, numbers) if self.gateway is None else self.gateway.workload(name, numbers)
        return workload.name, workload.expected

    def begin(self, run: PromptRun) -> None:
        """A prompt is open."""
        self._runs.add(run)

    def end(self, run: PromptRun) -> None:
        """A prompt is over, for us at least."""
        self._runs.discard(run)
        if run.life.is_on_server:
            self._overdue.append((run.target, run.life.server_id))

    def follow(self, run: PromptRun) -> None:
        """Its user has given up: go with it to its end; what it becomes is told, and at our end it is taken back."""
        self.leaving.start(gevent.Greenlet(self._follow, run))

    def _follow(self, run: PromptRun) -> None:
        try:
            run.follow()
        finally:
            self.end(run)

    def numbers_fell(self, target: Target, fall: Fall, witness: PromptRun) -> None:
        """`witness` was given a lower number than a prompt before it: a restart, or several servers at one address."""
        if target not in self._judging:
            self._judging.add(target)
            before = [run for run in self._runs if run.target is target and run is not witness and run.was_accepted]
            judge = gevent.spawn(self._judge, target, fall, target.last_ended, before)
            judge.link(lambda _: self._judging.discard(target))

    def _judge(self, target: Target, fall: Fall, old: str | None, before: list[PromptRun]) -> None:
        """A history that still has what it had before was not restarted; one that was has lost all that ran there."""
        if (fall is Fall.WITHOUT_DROP and old is None) or (old is not None and target.remembers(old)):
            target.address.several = True
            return
        target.address.begin_again()
        if fall is Fall.WITHOUT_DROP:
            return  # it was restarted while we had nothing there
        self.event("restart", server=target.url, detail="queue numbers began again", code=Code.SERVER_RESTARTED)
        for run in before:
            run.lose_to_restart()

    def event(
        self,
        kind: str,
        *,
        server: str | None = None,
        subject: str | None = None,
        code: Code | None = None,
        detail: str = "",
        at_ns: int | None = None,
    ) -> None:
        """Journal an event of this process; `at_ns`: not of now, but of then."""
        at_ns = at_ns if at_ns is not None else self.clock.now_ns()
        self.journal.add(
            Event(at_ns=at_ns, source=self.worker, kind=kind, server=server, subject=subject, code=code, detail=detail)
        )

    def await_load(self) -> None:
        """Wait while nothing is sent: servers settle, or the test comes to its end."""
        here = gevent.getcurrent()
        self.held_back.add(here)
        try:
            self.under_load.wait()
        finally:
            self.held_back.discard(here)

    def own_error(self, error: Exception) -> None:
        """A prompt broke off by an error that nobody expected: an event, and at first its traceback in the log."""
        self.own_errors += 1
        self.event("own_error", detail=f"{type(error).__name__}: {error}"[:500])
        if self.own_errors <= MAX_TRACEBACKS:
            _log.error("A prompt broke off by an error of ComfySoak or of the locustfile:", exc_info=error)

    def stop(self, grace_s: float, why: str | None = None) -> None:
        """End: open prompts get `grace_s`, then are taken back and aborted; sockets close; the journal closes.

        `why` is told in the rows of the aborted ones, where it is not simply the end of the run.
        """
        self.closing = True
        give_up_ns = self.clock.now_ns() + round(grace_s * NS_PER_S)
        while self.in_flight and self.clock.now_ns() < give_up_ns and not self._is_hurried:
            gevent.sleep(0.02)
        self._abort_open_prompts(why)
        self.sockets.stop()
        self.self_check.stop()
        if self._waker is not None:
            self._waker.kill(block=False)
        self.fleet.tell()
        self.fleet.stop()
        if self.gateway is not None:
            self.gateway.close()
        self.journal.close()

    def hurry(self) -> None:
        """Grant no more grace to a stop that is under way."""
        self._is_hurried = True

    def _abort_open_prompts(self, why: str | None) -> None:
        if self.gateway is not None:
            self.gateway.abort(why)
        elif not self._runs and not self._overdue:
            return
        abort(self._runs, self.clock, why, self._overdue)
        self.leaving.join(timeout=ABORT_WITHIN_S)
        self.leaving.kill(timeout=ABORT_WITHIN_S)

    def _wake_what_is_due(self) -> None:
        """One clock for all: deadlines of prompts and of HTTP exchanges, to a tenth of a second."""
        while True:
            gevent.sleep(WAKE_EVERY_S)
            now_ns = self.clock.now_ns()
            for run in self._runs:
                run.wake_if_due(now_ns)
            for target in self.targets:
                target.http.expire()
            if self.gateway is not None:
                self.gateway.edge.expire()
            self.fleet.tell()

    def _write_nodes(self) -> None:
        for run in tuple(self._runs):
            run.write_nodes()


def new_journal(run_dir: Path, clock: AnchoredClock, name: str) -> Journal:
    """The journal of the load process of this name in a run directory."""
    return Journal(Layout(run_dir).journal, host=host_name(), process=name, clock=clock)


def _headers(plan: Plan) -> Mapping[str, str]:
    """The authorisation the plan names by its environment variable."""
    token = os.environ.get(plan.token_variable or "", "")
    return {"Authorization": f"Bearer {token}"} if token else {}

"""A cold start: servers start anew, and each step is an event, from process start to the first picture.

Events of kind `cold_start`, each with its server and the exact moment; the subject says what it was:

    start     the process began: our command did, or the server was seen gone, or it was not there at once
    answers   GET /system_stats answered 200
    ready     a socket was open as well
    picture   the first picture of a workload was there, fetched and checked; the detail names the workload
    failed    it came no further; the detail says why
    command   what became of the command (no server)
"""

from __future__ import annotations

from collections.abc import Sequence

import gevent

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import SystemStats
from comfysoak_core.rows import Outcome, Prompt
from comfysoak_core.scenario.quantities import format_duration
from comfysoak_core.scenario.stage import ColdStart
from comfysoak_core.scenario.workload import Workload
from comfysoak_load.client import Aim, ComfyClient
from comfysoak_load.course.launcher import Launcher
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.told import Fire
from comfysoak_load.prompts.workloads import PreparedWorkload
from comfysoak_load.servers.errands import Patience, on_each_server
from comfysoak_load.servers.target import Target
from comfysoak_load.sockets.connection import Connection

KIND = "cold_start"
LOOK_EVERY_S = 0.05
DEADLINE_S = 5.0
LOOKS_TO_BE_GONE = 2  # in a row, so that one lost packet is no restart
_OK = 200
_GONE = frozenset({FailureKind.REFUSED, FailureKind.RESET, FailureKind.UNREACHABLE})
_BAD_GATEWAY = range(502, 505)  # what a proxy says for a server that is gone


class _FailedError(Exception):
    """Why a server came no further."""


def start_cold(process: LoadProcess, fire: Fire, launcher: Launcher, what: ColdStart, limit_s: float) -> None:
    """Start all servers of the test anew, or watch them being started, for at most `limit_s`."""
    _ColdStart(process, fire, launcher, what, limit_s).run()


class _ColdStart:
    def __init__(self, process: LoadProcess, fire: Fire, launcher: Launcher, what: ColdStart, limit_s: float) -> None:
        self._process = process
        self._fire = fire
        self._launcher = launcher
        self._what = what
        self._limit_s = limit_s
        self._patience = Patience(process.clock, limit_s)
        self._began_ns = process.clock.now_ns()
        self._command_failed: str | None = None

    def run(self) -> None:
        there = {target for target in self._process.targets if not _is_gone(target)}
        self._began_ns = self._process.clock.now_ns()
        telling = gevent.spawn(self._launch, self._what.command) if self._what.command is not None else None
        try:
            on_each_server(self._process, lambda target: self._follow(target, was_there=target in there))
        finally:
            if telling is not None:
                telling.kill(block=False)

    # The command

    def _launch(self, command: Sequence[str] | str) -> None:
        """Start it and tell how it ended; whatever that was, the servers decide."""
        self._command_failed = self._launcher.start(command)
        while self._command_failed is None and (status := self._launcher.exit_status) is None:
            gevent.sleep(LOOK_EVERY_S)
        if self._command_failed is None and status != 0:
            self._command_failed = f"it ended with exit status {status}"
        said = self._launcher.hear_out()
        result = self._command_failed or "it ended with exit status 0"
        self._process.event(KIND, subject="command", detail=f"{result}: {said}" if said else result)

    # One server

    def _follow(self, target: Target, *, was_there: bool) -> None:
        try:
            started_ns = self._await_start(target, was_there=was_there)
            self._tell(target, "start", at_ns=started_ns)
            ready = self._await_answer(target)
            self._tell(target, "answers", f"ComfyUI {ready.comfyui_version or 'of unknown version'}")
            self._make_pictures(target)
        except _FailedError as why:
            command = f"; the command: {self._command_failed}" if self._command_failed else ""
            self._tell(target, "failed", f"{why}{command}", code=Code.COLD_START_FAILED)

    def _tell(
        self, target: Target, step: str, detail: str = "", *, code: Code | None = None, at_ns: int | None = None
    ) -> None:
        self._process.event(KIND, server=target.url, subject=step, code=code, detail=detail, at_ns=at_ns)

    def _await_start(self, target: Target, *, was_there: bool) -> int:
        """When its process began, as exactly as can be told from outside; returns once the old one is gone."""
        looks = 0
        gone_ns = self._began_ns
        while was_there and looks < LOOKS_TO_BE_GONE:
            now_ns = self._process.clock.now_ns()
            if _is_gone(target):
                gone_ns, looks = (now_ns if looks == 0 else gone_ns), looks + 1
            else:
                looks = 0
            self._go_on_or_fail("it was not seen to go: it answered all the time")
        return self._began_ns if self._what.command is not None else gone_ns

    def _await_answer(self, target: Target) -> SystemStats:
        while True:
            answer = target.system_stats(DEADLINE_S)
            if isinstance(answer, SystemStats):
                return answer
            why = str(answer) if isinstance(answer, Failure) else f"status {answer.status}"
            self._go_on_or_fail(f"it was not ready (/system_stats: {why})")

    def _make_pictures(self, target: Target) -> None:
        connection = self._process.connection(target, "user")
        client = ComfyClient(self._process, self._fire)
        try:
            connection.connect()
            if not connection.is_open.wait(self._patience.left_s):
                raise _FailedError(f"no socket opened within {self._limit_in_words}")
            self._tell(target, "ready")
            for number, workload in enumerate(self._workloads):
                self._make_picture(target, connection, client, workload, number)
        finally:
            client.leave()
            self._process.part(connection)

    @property
    def _workloads(self) -> tuple[Workload, ...]:
        """Those a picture is made of: the one named, or each that is to succeed."""
        name = self._what.workload
        found = self._process.plan.workloads
        return tuple(one for one in found if one.name == name or (name is None and one.expected is Outcome.SUCCESS))

    def _make_picture(
        self, target: Target, connection: Connection, client: ComfyClient, workload: Workload, number: int
    ) -> None:
        if self._patience.is_over:
            raise _FailedError(f"no picture of {workload.name} within {self._limit_in_words}")
        deadline_s = min(workload.deadline_s, self._patience.left_s)
        short = workload.model_copy(update={"deadline_s": deadline_s})
        prepared = PreparedWorkload(short, self._process.index)
        numbers = self._process.draw(f"cold start/{self._began_ns}/{target.url}", number)
        row = client.send(Aim(prepared, prepared.draw(numbers), connection, fetch=True), self._process.clock.now_ns())
        self._judge(target, row)

    def _judge(self, target: Target, row: Prompt) -> None:
        if row.outcome in (Outcome.SUCCESS, Outcome.CACHED, row.expected):
            self._tell(target, "picture", row.workflow, at_ns=row.finished_ns)
            return
        why = f"{row.outcome} {row.code or ''}".strip() + (f": {row.error_message}" if row.error_message else "")
        raise _FailedError(f"the first picture of {row.workflow} did not come: {why}")

    def _go_on_or_fail(self, why: str) -> None:
        if self._patience.is_over:
            raise _FailedError(f"{why}, within {self._limit_in_words}")
        gevent.sleep(LOOK_EVERY_S)

    @property
    def _limit_in_words(self) -> str:
        return format_duration(self._limit_s)


def _is_gone(target: Target) -> bool:
    """Whether nobody answers there. One that is slow to answer is not gone."""
    answer = target.http.get("/prompt", deadline_s=DEADLINE_S)
    if isinstance(answer, Failure):
        return answer.kind in _GONE
    return answer.status in _BAD_GATEWAY

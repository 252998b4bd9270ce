"""A worker machine: joins a master, starts its share of the load, and sends all that is recorded to the master.

    join -> be handed the run -> check -> load ... -> end -> all acknowledged -> goodbye

When the master is gone or silent the load ends at once: nobody's GPU works for a run that nobody watches. The worker
then tries to reach the master again; back in the run it sends what was not acknowledged, and its load begins anew.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from comfysoak.machines.checks import Checks
from comfysoak.machines.roll import proof_of
from comfysoak.machines.run_folder import RunFolder
from comfysoak.machines.timekeeping import Timekeeping
from comfysoak.machines.wire import LineLostError, NonsenseError, Said, Wire
from comfysoak.machines.words import (
    PROTOCOL,
    Begin,
    Complete,
    Died,
    End,
    FilePart,
    Goodbye,
    Greeting,
    Have,
    Hello,
    Ping,
    Pong,
    Prepare,
    Ready,
    Refused,
    Welcome,
)
from comfysoak.machines.worker_load import WorkerLoad
from comfysoak_core.clock import Anchor, steady_ns
from comfysoak_core.distant_clock import FollowingClock
from comfysoak_core.errors import ComfySoakError, ExitCode, UsageError
from comfysoak_core.recording.host_facts import this_host
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import ClockReading

CONNECT_WITHIN_S = 3.0
TRY_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
WAIT_S = 0.05
LOAD_ENDS_WITHIN_S = 5.0  # by itself, when the run is over
LAST_WORDS = 1000  # characters of a log

_Word = TypeVar("_Word", Greeting, Welcome)


@dataclass(frozen=True, slots=True)
class Call:
    """How a worker was called. It tries for `patience_s` to reach a master it cannot reach."""

    host: str
    port: int
    processes: int
    folder: Path | None
    patience_s: float
    key: str = ""
    version: str = ""


class Worker:
    """One worker machine, for one run. `say` tells a person; `asked_to_end` is polled."""

    def __init__(self, call: Call, say: Callable[[str], None], asked_to_end: Callable[[], bool]) -> None:
        self._call = call
        self._say = say
        self._asked_to_end = asked_to_end
        self._machine = uuid.uuid4().hex
        self._folder = RunFolder(call.folder)
        self._load = WorkerLoad(self._folder, call.processes, call.host, call.port + 1)
        self._run = ""
        self._name = ""
        self._processes_in_all = call.processes
        self._clock: FollowingClock | None = None
        self._journal: Journal | None = None
        self._checks: Checks | None = None
        self._is_over = False  # the master has said so, or somebody here
        self._load_ends_by = 0.0
        self._has_said_complete = False
        self._was_with_master = False  # over the connection that is or was the last

    def run(self) -> int:
        """Work until the master says goodbye; the exit code. Raises ComfySoakError when it cannot come to that."""
        try:
            self._work_over_connections()
        except ComfySoakError as error:
            self._load.end()
            raise self._with_what_is_left(error) from error
        finally:
            self._load.end()
            if self._journal is not None:
                self._journal.close()
            if self._folder.is_delivered:
                self._folder.remove()
        return int(ExitCode.OK)

    @property
    def kept(self) -> Path | None:
        """The folder with what was not delivered, if anything is left there."""
        return self._folder.path if self._folder.path.exists() else None

    def _work_over_connections(self) -> None:
        give_up = time.monotonic() + self._call.patience_s
        while True:
            try:
                wire = self._connect()
                try:
                    self._work(wire)
                    return
                finally:
                    wire.close()
            except LineLostError as error:
                if self._was_with_master:
                    self._cut_off(error)
                    give_up = time.monotonic() + self._call.patience_s
                if self._asked_to_end() or time.monotonic() > give_up:
                    raise _no_master(self._call, error) from error
                time.sleep(TRY_EVERY_S)

    # One connection

    def _connect(self) -> Wire:
        call = self._call
        self._was_with_master = False
        try:
            connection = socket.create_connection((call.host, call.port), CONNECT_WITHIN_S)
        except OSError as error:
            raise LineLostError(
                f"no master at {call.host}:{call.port}: {error.strerror or error}", closed=True
            ) from error
        wire = Wire(connection, CONNECT_WITHIN_S)
        try:
            self._introduce(wire)
        except BaseException:
            wire.close()
            raise
        return wire

    def _introduce(self, wire: Wire) -> None:
        greeting = _expect(wire, Greeting)
        if greeting.protocol != PROTOCOL:
            raise _refusal(f"the master speaks another version of this channel ({greeting.version})")
        proof = proof_of(self._call.key, greeting.nonce, self._machine) if self._call.key else ""
        wire.send(
            Hello(
                machine=self._machine,
                version=self._call.version,
                processes=self._call.processes,
                proof=proof,
                run=self._run,
                facts=this_host(),
            )
        )
        welcome = _expect(wire, Welcome)
        wire.silence_s = welcome.silence_s
        self._name = welcome.name
        self._timekeeping = Timekeeping(welcome.silence_s)
        self._was_with_master = True
        self._has_said_complete = False
        self._say(f"joined the master at {self._call.host}:{self._call.port} as {welcome.name}")

    def _work(self, wire: Wire) -> None:
        """Until Goodbye. Raises LineLostError."""
        heard_s = looked_s = time.monotonic()
        while True:
            said = wire.receive(WAIT_S)
            now_s = time.monotonic()
            if said is not None:
                heard_s = now_s
                if isinstance(said.word, Goodbye):
                    return
                self._heed(said, steady_ns())
            elif now_s - heard_s > wire.silence_s:
                raise LineLostError(f"the master has said nothing for {wire.silence_s:g} s", closed=False)
            self._ask_the_time(wire)
            if now_s - looked_s >= LOOK_EVERY_S:
                looked_s = now_s
                self._look(wire)
            if self._run and not self._timekeeping.is_measuring:  # before the run is known there is no place for it
                self._send_journal(wire)

    def _heed(self, said: Said, now_ns: int) -> None:
        match said.word:
            case Pong(number=number, at_ns=at_ns):
                measured = self._timekeeping.pong(number, at_ns, now_ns)
                if measured is not None:
                    self._set_clock(measured)
            case FilePart() as part:
                self._folder.take(part, said.body)
            case Prepare(run=run, processes=processes):
                self._run, self._processes_in_all = run, processes
                self._checks = Checks(self._folder.path, self._call.processes, processes)
            case Begin():
                self._begin()
            case Have(name=name, had=had, again=again):
                self._folder.outbox.heard(name, had, again=again)
            case End(at_once=at_once):
                self._end_load("the run is over", within_s=0.0 if at_once else LOAD_ENDS_WITHIN_S)
            case Refused(why=why, remedy=remedy):
                raise _refusal(why, remedy)
            case word:
                raise NonsenseError(f"the master said {word.kind} out of turn")

    def _begin(self) -> None:
        if self._clock is None:
            raise NonsenseError("the master began before its clock was known")
        if not self._load.is_running and not self._is_over:
            self._say(f"load begins: {self._call.processes} of {self._processes_in_all} processes")
            self._load.start(self._name, self._clock.anchor, self._processes_in_all)

    def _ask_the_time(self, wire: Wire) -> None:
        number = self._timekeeping.ping(steady_ns())
        if number is not None:
            wire.send(Ping(number=number))

    def _set_clock(self, measured: Anchor) -> None:
        """Follow the master's clock, and record how far off this machine was until now."""
        if self._clock is None:
            self._clock = FollowingClock(measured)
            self._journal = Journal(self._folder.layout.journal, host=self._name, process="worker", clock=self._clock)
        if self._has_said_complete:
            return
        distance_ns = self._clock.distance_ns(measured)
        self._clock.follow(measured)
        temporary = self._folder.clock_file.with_suffix(".new")
        temporary.write_text(measured.to_environment(), encoding="ascii")
        temporary.replace(self._folder.clock_file)
        assert self._journal is not None  # noqa: S101  # made with the clock
        self._journal.add_now(
            ClockReading(
                at_ns=self._clock.now_ns(),
                host=self._name,
                clock="worker",
                offset_ns=distance_ns,
                error_ns=measured.error_ns,
            )
        )

    def _look(self, wire: Wire) -> None:
        """What has come of the checks, of the load processes, of the journal."""
        if self._checks is not None and (answer := self._checks.answer()) is not None and self._clock is not None:
            wire.send(answer)
            self._checks = None
            if not isinstance(answer, Ready):
                self._say(str(answer.why))
        for child in self._load.died():
            if not self._is_over:
                self._say(f"{child.describe_end()}\n{child.last_words()}")
                wire.send(Died(role=child.role, words=f"{child.describe_end()}\n{child.last_words()[-LAST_WORDS:]}"))
        if self._asked_to_end():
            self._end_load("asked to end", within_s=0.0)
        if self._is_over and time.monotonic() > self._load_ends_by:
            self._load.terminate()
        self._folder.look()
        self._folder.forget_delivered()
        if self._is_over and not self._load.is_running and not self._has_said_complete and self._folder.is_delivered:
            wire.send(Complete())
            self._has_said_complete = True

    def _send_journal(self, wire: Wire) -> None:
        while (found := self._folder.next_part()) is not None:
            part, body = found
            wire.send(part, body)

    # Ends

    def _end_load(self, why: str, *, within_s: float) -> None:
        if not self._is_over:
            self._is_over = True
            self._say(f"load ends: {why}")
            self._load_ends_by = time.monotonic() + within_s

    def _cut_off(self, error: LineLostError) -> None:
        """Without its master a worker makes no load; what it has is sent when it is back."""
        why = f"cut off from the master: {error.problems[0].what}"
        self._say(f"{why}; its load ends")
        self._folder.layout.cut_off.write_text(why, encoding="utf-8")  # for the rows of its open prompts
        self._load.end()
        self._folder.layout.cut_off.unlink()
        self._timekeeping.cut()
        self._folder.outbox.cut()
        self._checks = None

    def _with_what_is_left(self, error: ComfySoakError) -> ComfySoakError:
        """The error, with where the journal lies that the master has not got."""
        first = error.problems[0]
        if not self._run or self._folder.is_delivered:
            return error
        return UndeliveredError(
            first.what,
            f"What the master has not got lies in {self._folder.path}. Copy it there and merge it: "
            f"comfysoak report RUN --merge {self._folder.path.name}",
        )


class UndeliveredError(ComfySoakError):
    """The run goes on, or is over, without a part of what was recorded here."""

    exit_code = ExitCode.NOT_VALID


class NoMasterError(ComfySoakError):
    """The master cannot be reached, or is gone."""

    exit_code = ExitCode.TARGET_NOT_READY


def _no_master(call: Call, error: LineLostError) -> NoMasterError:
    return NoMasterError(
        f"the master cannot be reached at {call.host}:{call.port} ({error.problems[0].what})",
        "Is it running (comfysoak run SCENARIO --master --bind HOST:PORT), and does the network let you through?",
    )


def _refusal(why: str, remedy: str = "") -> UsageError:
    return UsageError(f"the master refuses this worker: {why}", remedy)


def _expect(wire: Wire, kind: type[_Word]) -> _Word:
    said = wire.receive(CONNECT_WITHIN_S)
    if said is None:
        raise LineLostError("the master says nothing", closed=False)
    if isinstance(said.word, Refused):
        raise _refusal(said.word.why, said.word.remedy)
    if not isinstance(said.word, kind):
        raise NonsenseError(f"the master said {said.word.kind} out of turn")
    return said.word

"""The master's side: listens for workers, hands them the run, takes in their journals, notices who is gone.

One thread accepts, one serves each connection; the supervisor asks and waits. No thread but the supervisor's writes
to the run's own journal.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from comfysoak.machines.roll import Machine, Notice, Roll, Step
from comfysoak.machines.wire import LineLostError, NonsenseError, Said, Wire
from comfysoak.machines.words import (
    Begin,
    Cannot,
    Complete,
    Died,
    End,
    FilePart,
    FromMaster,
    Goodbye,
    Greeting,
    Have,
    Hello,
    JournalPart,
    Ping,
    Pong,
    Prepare,
    Ready,
    Refused,
    Welcome,
)
from comfysoak_core.clock import Clock
from comfysoak_core.errors import ComfySoakError, UsageError
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.received import Received

GREETING_WITHIN_S = 10.0
CONNECTIONS_MOST = 512  # of strangers too
BYTES_PER_S_MOST = 16 * 1024 * 1024  # of one worker's journal
DISK_PAUSE_S = 1.0
TICK_S = 0.2
PART_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where the master listens: our channel at `port`, Locust's own at the next."""

    host: str
    port: int

    @property
    def locust_port(self) -> int:
        """Locust's."""
        return self.port + 1

    def __str__(self) -> str:
        """As it is written in a call."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Master:
    """The master of one run. `silence_s`: a worker that says nothing for so long is lost."""

    def __init__(self, address: Address, roll: Roll, clock: Clock, *, silence_s: float) -> None:
        self.address = address
        self.roll = roll
        self._clock = clock
        self._silence_s = silence_s
        self._run_dir: Path | None = None
        self._strangers = threading.BoundedSemaphore(CONNECTIONS_MOST)
        self._is_closed = False
        self._listening = self._listen()
        threading.Thread(target=self._accept, name="workers", daemon=True).start()

    # What the supervisor asks

    @property
    def processes(self) -> int:
        """Load processes on all connected machines; 1 when there is none."""
        return max(sum(machine.processes for machine in self.roll.machines(connected=True)), 1)

    def wait_for_all(self, within_s: float, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
        """Until all expected workers have joined. UsageError when they have not in time."""
        said = -1
        give_up_at = time.monotonic() + within_s
        expected = self.roll.expected
        while not give_up():
            machines = self.roll.machines(connected=True)
            if len(machines) != said:
                said = len(machines)
                names = f": {', '.join(machine.name for machine in machines)}" if machines else ""
                say(f"{said} of {expected} workers are there{names}")
            if said >= expected:
                return
            if time.monotonic() > give_up_at:
                raise UsageError(
                    f"{said} of {expected} workers have come to {self.address} within {within_s:g} s",
                    f"Start on each machine: comfysoak worker --master-host HOST --master-port {self.address.port} "
                    "(and let it reach that port and the next); or wait longer: --workers-within TIME",
                )
            self._wait_for_change()

    def hand_over(self, run_dir: Path, run: str, within_s: float, give_up: Callable[[], bool]) -> None:
        """Give all workers the run and wait until each can do its share. Raises what one of them cannot."""
        self._run_dir = run_dir
        self.roll.run = run
        for machine in self.roll.machines(connected=True):
            self._hand_to(machine)
        give_up_at = time.monotonic() + within_s
        while not give_up():
            machines = self.roll.machines(connected=True)
            for machine in machines:
                if machine.problem is not None:
                    raise UsageError(f"worker {machine.name}: {machine.problem.why}", machine.problem.remedy)
            late = [machine.name for machine in machines if machine.step is not Step.READY]
            if not late and len(machines) >= self.roll.expected:
                return
            if time.monotonic() > give_up_at:
                names = ", ".join(late) or f"{self.roll.expected - len(machines)} workers, which have left,"
                raise ComfySoakError(f"{names} did not get ready within {within_s:g} s", "Look at what they say.")
            self._wait_for_change()

    def begin(self) -> None:
        """All workers start their load processes."""
        self.roll.has_begun = True
        self._tell_all(Begin())

    def notices(self) -> list[Notice]:
        """What happened to machines since the last call."""
        return self.roll.take_notices()

    def end(self, *, at_once: bool) -> None:
        """The run is over: workers end their load and send what is left."""
        self.roll.is_ending = True
        self._tell_all(End(at_once=at_once))

    def wait_for_journals(self, within_s: float, is_hopeless: Callable[[Machine], bool]) -> list[Machine]:
        """Until all that was recorded is here, or only from hopeless ones not; the machines it is missing from."""
        give_up_at = time.monotonic() + within_s
        while True:
            missing = list(self.roll.incomplete())
            if all(map(is_hopeless, missing)) or time.monotonic() > give_up_at:
                return missing
            self._wait_for_change()

    def close(self) -> None:
        """Stop listening, end all connections."""
        self._is_closed = True
        self._listening.close()
        for machine in self.roll.machines(connected=True):
            if machine.wire is not None:
                machine.wire.cut()

    def _wait_for_change(self) -> None:
        with self.roll.changed:
            self.roll.changed.wait(TICK_S)

    def _tell_all(self, word: FromMaster) -> None:
        for machine in self.roll.machines(connected=True):
            self._tell(machine, word)

    def _tell(self, machine: Machine, word: FromMaster) -> None:
        if machine.wire is not None:
            try:
                machine.wire.send(word)
            except LineLostError:
                machine.wire.cut()  # its thread notices

    # Connections

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        try:
            return socket.create_server((self.address.host, self.address.port), family=family, backlog=64)
        except OSError as error:
            raise UsageError(
                f"the master cannot listen at {self.address}: {error.strerror or error}",
                "Name an address of this machine and a free port: --bind HOST:PORT",
            ) from error

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                time.sleep(TICK_S)  # no handles left, or closed
                continue
            if not self._strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="worker", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        wire = Wire(connection, GREETING_WITHIN_S)
        machine: Machine | None = None
        why = "its connection was closed"
        try:
            hello = self._admitted(wire)
            if hello is not None:
                machine = self.roll.seat(hello, wire)
                self._welcome(machine, wire, has_run=bool(hello.run))
                self._talk(machine, wire)
        except (LineLostError, NonsenseError) as error:
            why = error.problems[0].what
        finally:
            wire.close()
            if machine is not None:
                self.roll.leave(machine, wire, why)
            self._strangers.release()

    def _admitted(self, wire: Wire) -> Hello | None:
        nonce = secrets.token_hex(16)
        wire.send(Greeting(version=self.roll.version, nonce=nonce))
        said = wire.receive(GREETING_WITHIN_S)
        if said is None or not isinstance(said.word, Hello):
            return None
        refused = self.roll.refusal_of(said.word, nonce)
        if refused is not None:
            wire.send(refused)
            return None
        return said.word

    def _welcome(self, machine: Machine, wire: Wire, *, has_run: bool) -> None:
        """Say welcome, and what a worker that comes in the middle of a run has missed."""
        wire.silence_s = self._silence_s
        wire.send(Welcome(name=machine.name, silence_s=self._silence_s))
        if self._run_dir is None:
            return
        if not has_run:
            self._hand_to(machine)
        elif self.roll.is_ending:
            wire.send(End(at_once=True))
        else:
            wire.send(self._prepare())

    def _talk(self, machine: Machine, wire: Wire) -> None:
        while True:
            said = wire.receive(self._silence_s)
            if said is None:
                raise LineLostError(f"it said nothing for {self._silence_s:g} s", closed=False)
            self._heed(machine, wire, said)

    def _heed(self, machine: Machine, wire: Wire, said: Said) -> None:
        match said.word:
            case Ping(number=number):
                wire.send(Pong(number=number, at_ns=self._clock.now_ns()))
            case JournalPart() as part:
                self._take(machine, wire, part, said.body)
            case Ready():
                self.roll.advance(machine, Step.READY)
                if self.roll.has_begun and not self.roll.is_ending:
                    wire.send(Begin())
            case Cannot(why=why, remedy=remedy):
                self.roll.refuse(machine, Refused(why=why, remedy=remedy))
            case Died(role=role, words=words):
                self.roll.note("load_process_died", machine, f"{role}: {words}")
            case Complete():
                if machine.received is not None:
                    machine.received.sync()
                if not self.roll.is_ending:
                    self.roll.note("machine_left", machine, "it was told to end, on the machine itself")
                try:  # first: whoever waits for the last machine then closes the channel
                    wire.send(Goodbye())
                finally:
                    self.roll.advance(machine, Step.COMPLETE)
            case word:
                raise NonsenseError(f"it said {word.kind} out of turn")

    def _take(self, machine: Machine, wire: Wire, part: JournalPart, body: bytes) -> None:
        """Put a piece of journal on disk; what is refused is asked for again later, which holds the worker up."""
        if machine.received is None:
            raise NonsenseError("it sent a journal before the run was handed to it")
        try:
            taken = machine.received.take(part.name, part.offset, body, part.crc)
        except OSError:
            time.sleep(DISK_PAUSE_S)
            wire.send(Have(name=part.name, had=0, again=True))
            return
        if taken is None:
            raise NonsenseError(f"it sent what is no journal of its own: {part.name[:100]!r}")
        wire.send(Have(name=part.name, had=taken.had, again=taken.again))
        time.sleep(len(body) / BYTES_PER_S_MOST)

    def _hand_to(self, machine: Machine) -> None:
        """Send run.json and the inputs; from now on the machine's journal is taken."""
        assert self._run_dir is not None  # noqa: S101  # there is nothing to hand over before
        with self.roll.changed:  # the machine's own thread may be about to do it
            wire = machine.wire
            if wire is None or machine.handed_over is wire:
                return
            machine.handed_over = wire
        if machine.received is None:
            machine.received = Received(Layout(self._run_dir).journal, machine.name)
        try:
            for path in _files_of(self._run_dir):
                _send_file(wire, self._run_dir, path)
            wire.send(self._prepare())
        except LineLostError:
            wire.cut()

    def _prepare(self) -> Prepare:
        return Prepare(run=self.roll.run, processes=self.processes)


def _files_of(run_dir: Path) -> Iterator[Path]:
    """What a load process needs of a run directory."""
    yield Layout(run_dir).run_json
    for path in sorted((run_dir / "inputs").rglob("*")):
        if path.is_file():
            yield path


def _send_file(wire: Wire, run_dir: Path, path: Path) -> None:
    name, size = path.relative_to(run_dir).as_posix(), path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size or offset == 0:
            body = file.read(PART_BYTES)
            wire.send(FilePart(path=name, offset=offset, size=size), body)
            offset += len(body)
            if not body:
                return

"""Which machines work for a run, and what is known of each: the master's book, without sockets."""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from comfysoak.machines.words import Hello, Refused
from comfysoak_core.recording.journal import safe_name
from comfysoak_core.recording.run_file import HostFacts

if TYPE_CHECKING:
    from comfysoak.machines.wire import Wire
    from comfysoak_core.recording.received import Received

KEY_VARIABLE = "COMFYSOAK_MASTER_KEY"


def proof_of(key: str, nonce: str, machine: str) -> str:
    """Shows that one knows the key, and cannot be used again."""
    return hmac.new(key.encode(), f"{nonce} {machine}".encode(), hashlib.sha256).hexdigest()


class Step(StrEnum):
    """How far a machine is."""

    JOINED = "joined"
    READY = "ready"
    COMPLETE = "complete"  # its load has ended, its journal is here


@dataclass(slots=True, eq=False)
class Machine:
    """One worker machine; `wire` is None while it is not connected, since `gone_at` (monotonic seconds)."""

    key: str
    name: str
    processes: int
    facts: HostFacts
    wire: Wire | None = None
    step: Step = Step.JOINED
    problem: Refused | None = None
    received: Received | None = None
    handed_over: Wire | None = None  # the connection over which it was given the run
    gone_at: float = 0.0
    why_gone: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the recording must say of a machine: `kind` and `detail` of an event about `name`."""

    kind: str
    name: str
    detail: str


@dataclass(slots=True)
class Roll:
    """All machines; `changed` guards them and tells of each change."""

    expected: int
    version: str
    key: str
    changed: threading.Condition = field(default_factory=threading.Condition)
    run: str = ""
    has_begun: bool = False
    is_ending: bool = False
    _machines: dict[str, Machine] = field(default_factory=dict)
    _notices: list[Notice] = field(default_factory=list)

    def machines(self, *, connected: bool = False) -> list[Machine]:
        """Those that count; only the `connected` ones if asked for."""
        with self.changed:
            return [found for found in self._machines.values() if found.wire is not None or not connected]

    def take_notices(self) -> list[Notice]:
        """What is new since the last call."""
        with self.changed:
            taken, self._notices = self._notices, []
        return taken

    def note(self, kind: str, machine: Machine, detail: str) -> None:
        """Something to be told; said to be bounded in number by those who call."""
        with self.changed:
            self._notices.append(Notice(kind, machine.name, detail))

    def refusal_of(self, hello: Hello, nonce: str) -> Refused | None:
        """Why this worker cannot take part; None when it can."""
        if hello.version != self.version:
            return Refused(
                why=f"this worker is ComfySoak {hello.version}, its master is {self.version}",
                remedy=f"Install the same version on both: pip install comfysoak=={self.version}",
            )
        if self.key and not hmac.compare_digest(hello.proof, proof_of(self.key, nonce, hello.machine)):
            return Refused(
                why="the master asks for a key that this worker does not have",
                remedy=f"Set {KEY_VARIABLE} to the same value on both machines.",
            )
        if hello.run and hello.run != self.run:
            return Refused(why="the run this worker works for is over: another one is at this address")
        with self.changed:
            known = self._machines.get(hello.machine)
            others = sum(found.wire is not None for found in self._machines.values() if found is not known)
        if known is None and (others >= self.expected or self.is_ending):
            return Refused(
                why=f"the run has its {self.expected} workers" if not self.is_ending else "the run is over",
                remedy="Start the master with more: --workers N",
            )
        return None

    def seat(self, hello: Hello, wire: Wire) -> Machine:
        """The machine that speaks through `wire` from now on; an older connection of it is cut."""
        with self.changed:
            machine = self._machines.get(hello.machine)
            if machine is None:
                name = self._free_name(hello.facts.name)
                machine = Machine(hello.machine, name, hello.processes, hello.facts, wire)
                self._machines[hello.machine] = machine
                if self.has_begun:
                    self.note("machine_joined", machine, f"joined the run with {machine.processes} load processes")
            elif machine.wire is not None:
                machine.wire.cut()
            elif self.has_begun:
                away_s = time.monotonic() - machine.gone_at
                self.note("machine_back", machine, f"back after {away_s:.1f} s; what it has recorded is sent again")
            machine.wire = wire
            self.changed.notify_all()
        return machine

    def leave(self, machine: Machine, wire: Wire, why: str) -> None:
        """The connection `wire` of a machine is gone."""
        with self.changed:
            if machine.wire is not wire:
                return
            machine.wire, machine.gone_at, machine.why_gone = None, time.monotonic(), why
            if not self.has_begun:
                del self._machines[machine.key]  # whoever comes back is as good as new
            elif machine.step is not Step.COMPLETE:
                self.note("machine_lost", machine, why)
            self.changed.notify_all()

    def advance(self, machine: Machine, step: Step) -> None:
        """A machine has got further."""
        with self.changed:
            machine.step = step
            self.changed.notify_all()

    def refuse(self, machine: Machine, problem: Refused) -> None:
        """A machine cannot do its share."""
        with self.changed:
            machine.problem = problem
            self.changed.notify_all()

    def incomplete(self) -> Iterator[Machine]:
        """Machines that have worked and whose journal has not come whole."""
        if self.has_begun:
            yield from (machine for machine in self.machines() if machine.step is not Step.COMPLETE)

    def _free_name(self, wanted: str) -> str:
        stem = safe_name(wanted)[:60]
        taken = {found.name for found in self._machines.values()}
        return next(
            name for number in range(1, 10_000) if (name := f"{stem}-{number}" if number > 1 else stem) not in taken
        )

"""The worker machines of a run, as its supervisor and the command see them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from comfysoak.machines.master import Address, Master
from comfysoak.machines.roll import KEY_VARIABLE, Machine, Roll
from comfysoak_core.clock import Clock
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.redaction import hide_value_of
from comfysoak_core.rows import Event

READY_WITHIN_S = 120.0
LOCUST_WORKERS_WITHIN_S = 60
NOBODY_S = 10.0  # Locust ends its test when all its workers are gone for five
JOURNALS_WITHIN_S = 60.0
BACK_WITHIN_S = 30.0  # a machine that was cut off is waited for so long at the end
AT_ONCE_S = 2.0  # an interrupted run is sealed within seven seconds


@dataclass(frozen=True, slots=True)
class MasterCall:
    """How a run was called that has its load made by `workers` machines."""

    workers: int
    bind: str
    within_s: float
    silence_s: float


class Crew:
    """Opens the master's channel at once, so that an address that cannot be had is told first."""

    def __init__(self, call: MasterCall, clock: Clock) -> None:
        self._call = call
        self._clock = clock
        address = parse_address(call.bind)
        hide_value_of(KEY_VARIABLE)
        self.warning = _warning(address)
        roll = Roll(call.workers, version("comfysoak"), os.environ.get(KEY_VARIABLE, ""))
        self.master = Master(address, roll, clock, silence_s=call.silence_s)
        self._nobody_since: float | None = None
        self._say: Callable[[str], None] | None = None

    def wait(self, give_up: Callable[[], bool], say: Callable[[str], None]) -> None:
        """Until all workers have joined; UsageError when they do not come in time. `say` hears of them from now on."""
        self._say = say
        self.master.wait_for_all(self._call.within_s, give_up, say)

    def hand_over(self, run_dir: Path, run: str, give_up: Callable[[], bool]) -> None:
        """Give the run to all workers; raises what one of them says against it."""
        self.master.hand_over(run_dir, run, READY_WITHIN_S, give_up)

    @property
    def processes(self) -> int:
        """Load processes of all machines together."""
        return self.master.processes

    def locust_arguments(self) -> list[str]:
        """What makes Locust the master of the workers' load processes."""
        address = self.master.address
        return [
            "--master",
            *("--master-bind-host", address.host, "--master-bind-port", str(address.locust_port)),
            *("--expect-workers", str(self.processes), "--expect-workers-max-wait", str(LOCUST_WORKERS_WITHIN_S)),
            "--enable-rebalancing",
        ]

    def events(self) -> Iterator[Event]:
        """What happened to machines since the last call."""
        for notice in self.master.notices():
            if self._say is not None:
                self._say(f"{notice.kind.replace('_', ' ')}: {notice.name}: {notice.detail}")
            yield self._event(notice.kind, notice.name, notice.detail)

    def why_ended(self) -> str | None:
        """Why the run cannot go on: nobody is left who makes load."""
        if self.master.roll.machines(connected=True):
            self._nobody_since = None
            return None
        self._nobody_since = self._nobody_since or time.monotonic()
        if time.monotonic() - self._nobody_since < NOBODY_S:
            return None
        gone = "; ".join(f"{machine.name}: {machine.why_gone}" for machine in self.master.roll.machines())
        return f"all workers are lost ({gone})"

    def end(self, *, at_once: bool) -> None:
        """The load is over."""
        self.master.end(at_once=at_once)

    def gather(self, *, at_once: bool) -> Iterator[Event]:
        """Wait for what is still on its way; an event for each machine whose journal has not come whole."""
        within_s = AT_ONCE_S if at_once else JOURNALS_WITHIN_S
        for machine in self.master.wait_for_journals(within_s, _is_hopeless):
            yield self._event(
                "machine_incomplete",
                machine.name,
                "the end of its journal has not come; if the machine still has it: comfysoak report RUN --merge DIR",
            )
        yield from self.events()
        self.master.close()

    def _event(self, kind: str, name: str, detail: str) -> Event:
        return Event(at_ns=self._clock.now_ns(), source="supervisor", kind=kind, subject=name, detail=detail)


def _is_hopeless(machine: Machine) -> bool:
    """Gone for so long that nobody waits for it any more."""
    return machine.wire is None and time.monotonic() - machine.gone_at > BACK_WITHIN_S


def parse_address(text: str) -> Address:
    """The address in `HOST:PORT`; a name becomes its IP address. UsageError for anything else."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65535:  # the next port is Locust's
        raise UsageError(f"--bind takes HOST:PORT, got {text!r}", "For example: --bind 10.0.0.5:5557")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"--bind: {host!r} is no address of this machine: {error.strerror}", "Name its IP.") from error
    return Address(str(found[0][4][0]), int(port))


def _warning(address: Address) -> str | None:
    is_private = address.host.startswith("127.") or address.host == "::1"
    if is_private or os.environ.get(KEY_VARIABLE):
        return None
    return (
        f"whoever reaches {address} can take part in this run: use a private network or an SSH tunnel, "
        f"and set {KEY_VARIABLE} to the same secret here and on the workers"
    )

"""Which processes are on a GPU, what they hold and use of it, and which of them are the server's, ours, or foreign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pynvml

from comfysoak_core.value import value
from comfysoak_probes.nvml.binding import read_process_utilization
from comfysoak_probes.nvml.driver import DriverError, Fault
from comfysoak_probes.nvml.fields import Fields
from comfysoak_probes.nvml.samples import Newest
from comfysoak_probes.processes.names import ProcessNames

HIDDEN: Final = "the driver's process ids are those of another namespace (container without `pid: host`)"
NOT_HERE: Final = f"no such process is here: it has ended, or {HIDDEN}"
NOT_TOLD: Final = "the driver does not tell who is on the GPU"
NO_SERVER: Final = "no process of a server under test is known on this host"
OWN: Final = "one of the harness's own, neither the server's nor foreign"
NO_MEMORY: Final = "the driver does not tell the memory of processes here (as under WDDM)"
NO_SAMPLE: Final = "utilisation_ratio: the driver has no sample of it since the row before"
EMPTY: Final = f"the driver names none, as it does where {HIDDEN}"

PROCESSES: Final = "processes"
UTILISATION: Final = "utilisation_ratio"
SAMPLES_MOST: Final = 256  # of processes, in one answer


@value()
class User:
    """A process on a GPU as the driver names it."""

    pid: int
    kind: str
    memory_bytes: int | None
    utilisation_ratio: float | None = None


class GpuProcesses:
    """Asks the driver for the processes of one GPU, or of one MIG instance."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._graphics = Fields(fields.gpu)  # a GPU without graphics misses nothing
        self._usage = Fields(fields.gpu)
        self._newest = Newest()
        self._room = (pynvml.c_nvmlProcessUtilizationSample_t * SAMPLES_MOST)()

    def read(self) -> list[User] | None:
        """All of them; None, with the reason noted, when the driver does not tell. Raises DriverError."""
        compute, graphics = _listed(self._fields, "Compute"), _listed(self._graphics, "Graphics")
        if compute is None:
            return None  # who is in the other list is not all of them
        if graphics is None and not self._graphics.gone(PROCESSES):
            self._fields.note(PROCESSES, str(self._graphics.reason(PROCESSES)))
            return None
        return merged(compute, graphics or [], self._utilisation() if compute or graphics else {})

    def no_utilisation(self) -> str:
        """Why a process has no `utilisation_ratio`, as `missing` has it."""
        return self._usage.missing() or NO_SAMPLE

    def _utilisation(self) -> dict[int, float]:
        """By process id the latest share of the SMs; nothing at the first call, which only learns what is old."""
        if self._usage.gone(UTILISATION):
            return {}
        first, found = not self._newest.stamp_us, {}
        for sample in self._samples():
            self._newest.take(sample.timeStamp)
            if sample.smUtil <= 100:  # percent; some drivers tell nonsense of processes that ended
                found[int(sample.pid)] = sample.smUtil / 100
        return {} if first else found

    def _samples(self) -> list[Any]:  # structures of the binding
        """What is new, by time."""
        try:
            count = self._fields.gpu.ask(read_process_utilization, self._newest.stamp_us, self._room)
        except DriverError as error:
            if error.fault is Fault.NO_DATA:
                self._newest.nothing()
            else:
                self._usage.refuse(UTILISATION, error)
            return []
        self._usage.clear(UTILISATION)
        return sorted(self._room[:count], key=lambda sample: int(sample.timeStamp))


def _listed(fields: Fields, kind: str) -> list[Any] | None:  # structures of the binding
    newer, older = (getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses_v{version}") for version in (3, 2))
    listed: list[Any] | None = fields.get_first(PROCESSES, (newer, ()), (older, ()))
    return listed


def merged(compute: Sequence[Any], graphics: Sequence[Any], usage: Mapping[int, float]) -> list[User]:
    """One entry a process.

    Within a list a process stands once for each MIG instance it is in; but both lists tell all it holds on the GPU.
    """
    held: dict[int, dict[str, list[int | None]]] = {}
    for kind, listed in (("compute", compute), ("graphics", graphics)):
        for process in listed:
            held.setdefault(int(process.pid), {}).setdefault(kind, []).append(process.usedGpuMemory)
    return [
        User(pid, ",".join(kinds), _most([_total(told) for told in kinds.values()]), usage.get(pid))
        for pid, kinds in held.items()
    ]


def _total(told: Sequence[int | None]) -> int | None:
    known = [size for size in told if size is not None]
    return sum(known) if len(known) == len(told) else None


def _most(totals: Sequence[int | None]) -> int | None:
    return max((size for size in totals if size is not None), default=None)


@value()
class Holder:
    """A process on a GPU, and what it is to us."""

    user: User
    name: str | None = None  # None: there is no such process here
    server: bool | None = None  # None: it cannot be told, or is one of ours
    own: bool = False


@value()
class Holdings:
    """Who is on one GPU."""

    holders: tuple[Holder, ...] = ()
    processes: int | None = None
    server_bytes: int | None = None
    foreign_processes: int | None = None
    foreign_bytes: int | None = None
    why: str | None = None  # the last three cannot be told
    matched: bool = True


def holdings(users: Sequence[User] | None, names: ProcessNames) -> Holdings:
    """What the processes the driver names are to us, as far as its ids are ids of ours."""
    if users is None:
        return Holdings(why=NOT_TOLD)
    if not users:
        return Holdings(why=EMPTY) if not names.host_ids else Holdings((), 0, 0, 0, 0)
    holders = tuple(_holder(user, names) for user in users)
    if not names.host_ids and not any(holder.server for holder in holders):  # where it names a server it translates
        unknown = tuple(Holder(user) for user in users)
        return Holdings(unknown, len(users), why=HIDDEN, matched=False)
    if not names.servers or any(holder.name is None for holder in holders):
        return Holdings(holders, len(users), why=NOT_HERE if names.servers else NO_SERVER)
    foreign = [holder.user for holder in holders if not holder.server and not holder.own]
    held = _total([holder.user.memory_bytes for holder in holders if holder.server])
    return Holdings(holders, len(users), held, len(foreign), _total([user.memory_bytes for user in foreign]))


def _holder(user: User, names: ProcessNames) -> Holder:
    known = names.find(user.pid)
    if known is None:
        return Holder(user)
    server, own = names.serves(known), user.pid in names.own
    return Holder(user, known.name, None if own and not server else server, own)

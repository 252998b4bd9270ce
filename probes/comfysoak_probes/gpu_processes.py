"""Which processes hold memory of a GPU, and whether one of them is the server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pynvml

from comfysoak_core.clock import Clock
from comfysoak_core.rows import GpuProcess
from comfysoak_probes.driver import ENDS_READING, Device, DriverError, Gate
from comfysoak_probes.source import Tick

HIDDEN = "the driver's process ids are those of another namespace (container without `pid: host`)"
PROCESSES_MOST = 64


@dataclass(slots=True)
class ProcessNames:
    """Names by process id, and the ids of the servers on this host as far as they are known."""

    servers: frozenset[int] | None = None  # with all they started; None: not looked for, not found, or not on this host
    own: frozenset[int] = frozenset()  # processes of this harness: never foreign
    _names: dict[int, str | None] = field(default_factory=dict)

    def name(self, pid: int) -> str | None:
        """The name of a process; None when there is none of this id in our namespace."""
        if len(self._names) > 1000:
            self._names.clear()
        if pid not in self._names:
            self._names[pid] = _name(pid)
        return self._names[pid]

    def is_server(self, pid: int) -> bool | None:
        """Whether it is one of the servers; None when that cannot be told."""
        return None if self.servers is None or self.name(pid) is None else pid in self.servers


def _name(pid: int) -> str | None:
    try:
        return psutil.Process(pid).name()[:100]
    except psutil.AccessDenied:
        return "?"
    except psutil.Error:
        return None


def process_rows(
    gate: Gate, device: Device, names: ProcessNames, *, host: str, clock: Clock, tick: Tick
) -> Iterator[GpuProcess]:
    """A row for each process on the GPU; none where the driver does not tell. Raises DriverError when it is gone."""
    began_ns = clock.now_ns()
    found = {int(process.pid): process for process in _processes(gate, device)}
    cost_ns = clock.now_ns() - began_ns
    for pid, process in list(found.items())[:PROCESSES_MOST]:
        name, memory = names.name(pid), process.usedGpuMemory
        reasons = [f"name: {HIDDEN}"] if name is None else []
        if memory is None:
            reasons.append("memory_bytes: the driver does not tell it here")
        yield GpuProcess(
            at_ns=began_ns + cost_ns // 2,
            read_cost_ns=cost_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=host,
            uuid=device.uuid,
            pid=pid,
            name=name,
            memory_bytes=None if memory is None else int(memory),
            is_server=names.is_server(pid),
            missing="; ".join(reasons) or None,
        )


def _processes(gate: Gate, device: Device) -> list[Any]:  # structures of the binding
    found: list[Any] = []
    for function in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
        try:
            found += gate.ask(function, device.handle)
        except DriverError as error:
            if error.fault in ENDS_READING:
                raise
    return found

"""One GPU of this host, read by its driver at three rates; lost, and found again.

At 10 Hz memory and utilisation, two calls (`gpu`); what costs more or changes slowly once a second (`gpu_slow`); what
hardly ever changes, and the process list (milliseconds, under a lock of the driver) every 5 s (`gpu_health`,
`gpu_processes`). Each row has its own time, taken around its calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pynvml

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Gpu, Row
from comfysoak_probes.nvml.driver import Device, DriverError, Gate
from comfysoak_probes.nvml.fields import Fields, memory_of
from comfysoak_probes.nvml.health import HealthReader
from comfysoak_probes.nvml.opened import OpenGpu
from comfysoak_probes.nvml.presence import Presence
from comfysoak_probes.nvml.slow import SlowReader
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.source import Cadence, Tick

SOURCE: Final = "nvml"
UTILISATION: Final = "utilisation_ratio,memory_utilisation_ratio"
NO_UTILISATION: Final = "the driver tells no utilisation of MIG instances"


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds between two readings of one GPU, by table."""

    fast_s: float = 0.1
    slow_s: float = 1.0
    processes_s: float = 5.0


class GpuSource:
    """One GPU of this host."""

    patience_s = 0.15

    def __init__(self, device: Device, gate: Gate, rates: Rates, host: str, clock: Clock, names: ProcessNames) -> None:
        self.name = f"nvml {device.title}"
        self.uuid = device.uuid
        self.every_s = rates.fast_s
        self._gpu = OpenGpu(gate, device)
        self._rates = rates
        self._host = host
        self._clock = clock
        self._names = names
        self._slow_due = Cadence(rates.slow_s)
        self._processes_due = Cadence(rates.processes_s)
        self._presence = Presence(device, gate)
        self._begin()

    def read(self, tick: Tick) -> list[Row]:
        """One row of the fast table."""
        try:
            if self._presence.is_stale:
                self._renew()
            row = self._read_fast(tick)
        except DriverError as error:
            return self._lost(tick, error)
        self.every_s = self._rates.fast_s
        return [row, *self._presence.found(tick)]

    @property
    def rest_due_ns(self) -> int:
        """When the next row of another table is due."""
        return min(self._slow_due.due_ns, self._processes_due.due_ns)

    def read_rest(self, tick: Tick) -> list[Row]:
        """Rows of the other tables, where they are due: once all GPUs have their fast row, for these take longer."""
        if self._presence.is_stale:
            return []  # just lost, or not there yet
        rows: list[Row] = []
        try:
            if self._slow_due.due(tick.deadline_ns):
                rows.append(self._slow.read(tick))
            if self._processes_are_due(tick):
                rows += self._health.read(tick)
        except DriverError as error:
            rows += self._lost(tick, error)
        return rows

    def _processes_are_due(self, tick: Tick) -> bool:
        """The first time at once, then at a moment that is not every other GPU's: a list takes milliseconds."""
        cadence = self._processes_due
        first, due = not cadence.due_ns, cadence.due(tick.deadline_ns)
        if first:
            apart_s = self._gpu.device.index * self._rates.fast_s
            cadence.due_ns += round(apart_s % cadence.every_s * NS_PER_S)
        return due

    def close(self) -> None:
        """Give the driver's samples back."""
        self._slow.close()

    def _begin(self) -> None:
        """Forget what this GPU refused, and every counter: after a loss all may be otherwise."""
        gpu = self._gpu
        self._fast = Fields(gpu)
        if gpu.device.parent is not None:
            self._fast.note(UTILISATION, NO_UTILISATION, lasting=True)
        self._slow = SlowReader(gpu, host=self._host, source=SOURCE, clock=self._clock)
        self._health = HealthReader(gpu, self._names, host=self._host, source=SOURCE, clock=self._clock)

    def look_again(self) -> None:
        """It is no longer listed: at the next reading look for it before its handle is used; for any thread."""
        self._presence.doubted = True

    def _renew(self) -> None:
        """A handle that is good now; counters go on when the driver was initialised again for another GPU's sake."""
        self._gpu.device = self._presence.renew()
        self._slow.close()
        if self._presence.is_lost:
            self._begin()

    def _lost(self, tick: Tick, error: DriverError) -> list[Row]:
        """A row without values, and at the first of them an event; asked again later and later."""
        rows: list[Row] = [
            Gpu(
                at_ns=tick.began_ns, read_cost_ns=self._clock.now_ns() - tick.began_ns, late_ns=tick.late_ns,
                host=self._host, source=SOURCE, uuid=self._gpu.device.uuid, index=self._gpu.device.index,
                instance=self._gpu.device.instance, missing=f"all: {error}",
            )
        ]  # fmt: skip
        events, again_s = self._presence.lost(tick, error)
        self.every_s = max(again_s, self._rates.fast_s)
        return rows + list(events)

    def _read_fast(self, tick: Tick) -> Gpu:
        fields = self._fast
        began_ns = self._clock.now_ns()
        memory = memory_of(fields)
        rates = fields.get(UTILISATION, pynvml.nvmlDeviceGetUtilizationRates)
        ended_ns = self._clock.now_ns()
        return Gpu(
            at_ns=(began_ns + ended_ns) // 2,
            read_cost_ns=ended_ns - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            source=SOURCE,
            uuid=self._gpu.device.uuid,
            index=self._gpu.device.index,
            instance=self._gpu.device.instance,
            memory_used_bytes=memory.used if memory else None,
            memory_total_bytes=memory.total if memory else None,
            memory_reserved_bytes=getattr(memory, "reserved", None),
            utilisation_ratio=rates.gpu / 100 if rates else None,
            memory_utilisation_ratio=rates.memory / 100 if rates else None,
            missing=fields.missing(),
        )

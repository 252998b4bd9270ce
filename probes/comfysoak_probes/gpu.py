"""One GPU of this host, read by its driver at three rates; lost, and found again.

At 10 Hz memory and utilisation, two calls; what costs more or changes slowly comes once a second, the process list
(milliseconds, under a lock of the driver) every 5 s. Each row has its own time, taken around its calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pynvml

from comfysoak_core.clock import Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Gpu, GpuSlow, Row
from comfysoak_probes.driver import Device, DriverError, Fault, Gate
from comfysoak_probes.fields import Fields, PcieRate, memory_of, pcie_counters, reasons_of, temperature_of
from comfysoak_probes.gpu_processes import ProcessNames, process_rows
from comfysoak_probes.reasons import event_reasons
from comfysoak_probes.source import Backoff, Cadence, Outage, Tick

SOURCE: Final = "nvml"


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
        self.name = f"nvml GPU {device.index}"
        self.every_s = rates.fast_s
        self._device = device
        self._gate = gate
        self._rates = rates
        self._host = host
        self._clock = clock
        self._names = names
        self._fast = Fields(gate)
        self._slow = Fields(gate)
        self._slow_due = Cadence(rates.slow_s)
        self._processes_due = Cadence(rates.processes_s)
        self._outage = Outage(device.uuid)
        self._backoff = Backoff()
        self._pcie = PcieRate()

    def read(self, tick: Tick) -> list[Row]:
        """One row of the fast table, and of the others where they are due."""
        try:
            if self._outage.since_ns is not None or self._device.generation != self._gate.generation:
                self._renew()
            rows: list[Row] = [self._read_fast(tick)]
            if self._slow_due.due(tick.deadline_ns):
                rows.append(self._read_slow(tick))
            if self._processes_due.due(tick.deadline_ns):
                rows += self._read_processes(tick)
        except DriverError as error:
            return self._lost(tick, error)
        if self._outage.since_ns is None:
            return rows
        self._backoff.reset()
        self.every_s = self._rates.fast_s
        return rows + list(self._outage.found(tick.began_ns, "the GPU answers again"))

    def close(self) -> None:
        """Nothing of its own to let go of."""

    def _renew(self) -> None:
        """A handle that is good now; after a loss by way of a driver initialised anew."""
        if self._outage.since_ns is not None and not self._gate.reopen(self._device.generation):
            raise DriverError(pynvml.NVML_ERROR_UNINITIALIZED)
        self._device = self._gate.renew(self._device)
        self._fast = Fields(self._gate)
        self._slow = Fields(self._gate)

    def _lost(self, tick: Tick, error: DriverError) -> list[Row]:
        """A row without values, and at the first of them an event; asked again later and later."""
        rows: list[Row] = [
            Gpu(
                at_ns=tick.began_ns, read_cost_ns=self._clock.now_ns() - tick.began_ns, late_ns=tick.late_ns,
                host=self._host, source=SOURCE, uuid=self._device.uuid, index=self._device.index,
                missing=f"all: {error}",
            )
        ]  # fmt: skip
        if error.fault is Fault.CLOSED and self._outage.since_ns is None:
            return rows  # somebody else initialises it just now
        self.every_s = max(self._backoff.next_s(), self._rates.fast_s)
        vanished = error.fault is not Fault.GPU_LOST
        kind, code = ("gpu_vanished", Code.GPU_VANISHED) if vanished else ("gpu_lost", Code.GPU_LOST)
        return rows + list(self._outage.lost(tick.began_ns, str(error), kind=kind, code=code))

    def _read_fast(self, tick: Tick) -> Gpu:
        fields, handle = self._fast, self._device.handle
        began_ns = self._clock.now_ns()
        memory = memory_of(fields, handle)
        rates = fields.get("utilisation_ratio,memory_utilisation_ratio", pynvml.nvmlDeviceGetUtilizationRates, handle)
        ended_ns = self._clock.now_ns()
        return Gpu(
            at_ns=(began_ns + ended_ns) // 2,
            read_cost_ns=ended_ns - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            source=SOURCE,
            uuid=self._device.uuid,
            index=self._device.index,
            memory_used_bytes=memory.used if memory else None,
            memory_total_bytes=memory.total if memory else None,
            memory_reserved_bytes=getattr(memory, "reserved", None),
            utilisation_ratio=rates.gpu / 100 if rates else None,
            memory_utilisation_ratio=rates.memory / 100 if rates else None,
            missing=fields.missing(),
        )

    def _read_slow(self, tick: Tick) -> GpuSlow:
        get, handle = self._slow.get, self._device.handle
        began_ns = self._clock.now_ns()
        power = get("power_watts", pynvml.nvmlDeviceGetPowerUsage, handle)
        limit = get("power_limit_watts", pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        energy = get("energy_joules", pynvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        sm_clock = get("sm_clock_hertz", pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM)
        memory_clock = get("memory_clock_hertz", pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM)
        reasons = reasons_of(self._slow, handle)
        sent, received = self._pcie.per_second(pcie_counters(self._slow, handle), began_ns)
        temperature = temperature_of(self._slow, handle)
        ended_ns = self._clock.now_ns()
        return GpuSlow(
            at_ns=(began_ns + ended_ns) // 2,
            read_cost_ns=ended_ns - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            source=SOURCE,
            uuid=self._device.uuid,
            index=self._device.index,
            name=self._device.name,
            power_watts=None if power is None else power / 1000,
            power_limit_watts=None if limit is None else limit / 1000,
            energy_joules=None if energy is None else energy / 1000,
            temperature_celsius=temperature,
            sm_clock_hertz=None if sm_clock is None else sm_clock * 1_000_000,
            memory_clock_hertz=None if memory_clock is None else memory_clock * 1_000_000,
            event_reasons=None if reasons is None else event_reasons(reasons),
            pcie_sent_bytes_per_s=sent,
            pcie_received_bytes_per_s=received,
            missing=self._slow.missing(),
        )

    def _read_processes(self, tick: Tick) -> list[Row]:
        return list(process_rows(self._gate, self._device, self._names, host=self._host, clock=self._clock, tick=tick))

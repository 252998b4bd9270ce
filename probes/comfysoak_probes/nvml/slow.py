"""What changes slowly or costs more to read about one GPU: a row of `gpu_slow`, once a second."""

from __future__ import annotations

from typing import Final

import pynvml

from comfysoak_core.clock import Clock
from comfysoak_core.rows import GpuSlow
from comfysoak_probes.nvml.field_values import ALL_LINKS, FieldValues, Wanted
from comfysoak_probes.nvml.fields import WHOLE_ONLY, Fields, Rate, hertz, reasons_of, scaled, temperature_of
from comfysoak_probes.nvml.gpm import Gpm
from comfysoak_probes.nvml.opened import OpenGpu
from comfysoak_probes.nvml.samples import UtilisationSamples
from comfysoak_probes.reasons import event_reasons
from comfysoak_probes.source import Tick

MILLI: Final = 1e-3
NANO: Final = 1e-9
KIB: Final = 1024.0

# In one call. What throttled it has another way to be asked for, so these two say nothing of their own.
WANTED: Final = (
    Wanted("memory_temperature_celsius", pynvml.NVML_FI_DEV_MEMORY_TEMP),
    Wanted("", pynvml.NVML_FI_DEV_PERF_POLICY_POWER),
    Wanted("", pynvml.NVML_FI_DEV_PERF_POLICY_THERMAL),
    Wanted("pcie_sent_bytes_per_s", pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES),
    Wanted("pcie_received_bytes_per_s", pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES),
    Wanted("nvlink_sent_bytes_per_s", pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS),
    Wanted("nvlink_received_bytes_per_s", pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS),
)

# What is told of a GPU, and not of a MIG instance of it.
OF_WHOLE: Final = (
    "utilisation_mean_ratio", "utilisation_highest_ratio", "utilisation_samples", "power_watts", "power_limit_watts",
    "energy_joules", "temperature_celsius", "memory_temperature_celsius", "performance_state", "sm_clock_hertz",
    "memory_clock_hertz", "event_reasons", "power_throttled_s", "thermal_throttled_s", "pcie_sent_bytes_per_s",
    "pcie_received_bytes_per_s", "nvlink_sent_bytes_per_s", "nvlink_received_bytes_per_s",
)  # fmt: skip


class SlowReader:
    """Reads one GPU, or one MIG instance. `close` frees what the driver lent; what it counts is counted on after it."""

    def __init__(self, gpu: OpenGpu, *, host: str, source: str, clock: Clock) -> None:
        self._gpu = gpu
        self._host = host
        self._source = source
        self._clock = clock
        self._fields = fields = Fields(gpu)
        self._samples = UtilisationSamples(fields)
        self._gpm = Gpm(fields)
        whole = gpu.device.parent is None
        self._values = FieldValues(fields, WANTED, ask=whole)
        if not whole:
            for column in OF_WHOLE:
                fields.note(column, WHOLE_ONLY, lasting=True)
        self._pcie_sent = Rate(fields, "pcie_sent_bytes_per_s")
        self._pcie_received = Rate(fields, "pcie_received_bytes_per_s")
        self._nvlink_sent = Rate(fields, "nvlink_sent_bytes_per_s", KIB)
        self._nvlink_received = Rate(fields, "nvlink_received_bytes_per_s", KIB)

    def close(self) -> None:
        """Free the driver's samples."""
        self._gpm.close()

    def read(self, tick: Tick) -> GpuSlow:
        """The row of now. Raises DriverError when the whole GPU is gone."""
        fields, get, device = self._fields, self._fields.get, self._gpu.device
        began_ns = self._clock.now_ns()
        utilisation = self._samples.read()
        graphics, sm, occupancy, tensor, memory = self._gpm.read()
        values_ns = self._clock.now_ns()
        memory_celsius, power_ns, thermal_ns, pcie_tx, pcie_rx, nvlink_tx, nvlink_rx = self._values.read()
        power_ns = self._throttled("power_throttled_s", power_ns, pynvml.NVML_PERF_POLICY_POWER)
        thermal_ns = self._throttled("thermal_throttled_s", thermal_ns, pynvml.NVML_PERF_POLICY_THERMAL)
        power_mw = get("power_watts", pynvml.nvmlDeviceGetPowerUsage)
        limit_mw = get("power_limit_watts", pynvml.nvmlDeviceGetEnforcedPowerLimit)
        energy_mj = get("energy_joules", pynvml.nvmlDeviceGetTotalEnergyConsumption)
        celsius = temperature_of(fields)
        state = get("performance_state", pynvml.nvmlDeviceGetPerformanceState)
        if state == pynvml.NVML_PSTATE_UNKNOWN:
            fields.note("performance_state", "the driver does not know it")
            state = None
        sm_mhz = get("sm_clock_hertz", pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)
        memory_mhz = get("memory_clock_hertz", pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_MEM)
        reasons = reasons_of(fields)
        ended_ns = self._clock.now_ns()
        return GpuSlow(
            at_ns=(began_ns + ended_ns) // 2,
            read_cost_ns=ended_ns - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            source=self._source,
            uuid=device.uuid,
            index=device.index,
            instance=device.instance,
            name=device.name,
            utilisation_mean_ratio=utilisation.mean_ratio,
            utilisation_highest_ratio=utilisation.highest_ratio,
            utilisation_samples=utilisation.samples,
            graphics_active_ratio=graphics,
            sm_active_ratio=sm,
            sm_occupancy_ratio=occupancy,
            tensor_active_ratio=tensor,
            memory_active_ratio=memory,
            power_watts=scaled(power_mw, MILLI),
            power_limit_watts=scaled(limit_mw, MILLI),
            energy_joules=scaled(energy_mj, MILLI),
            temperature_celsius=celsius,
            memory_temperature_celsius=scaled(memory_celsius, 1.0),
            performance_state=state,
            sm_clock_hertz=hertz(sm_mhz),
            memory_clock_hertz=hertz(memory_mhz),
            event_reasons=None if reasons is None else event_reasons(reasons),
            power_throttled_s=scaled(power_ns, NANO),
            thermal_throttled_s=scaled(thermal_ns, NANO),
            pcie_sent_bytes_per_s=self._pcie_sent.per_second(pcie_tx, values_ns),
            pcie_received_bytes_per_s=self._pcie_received.per_second(pcie_rx, values_ns),
            nvlink_sent_bytes_per_s=self._nvlink_sent.per_second(nvlink_tx, values_ns),
            nvlink_received_bytes_per_s=self._nvlink_received.per_second(nvlink_rx, values_ns),
            missing=fields.missing(),
        )

    def _throttled(self, column: str, told_ns: float | None, policy: int) -> float | None:
        """Nanoseconds in all: as told by field, or by the call that older drivers have for it."""
        if told_ns is not None:
            self._fields.clear(column)
            return told_ns
        status = self._fields.get(column, pynvml.nvmlDeviceGetViolationStatus, policy)
        return None if status is None else float(status.violationTime)

"""What hardly ever changes about one GPU, its counters of errors, and who is on it: a row of `gpu_health`."""

from __future__ import annotations

from typing import Final

import pynvml

from comfysoak_core.clock import Clock
from comfysoak_core.rows import GpuHealth, GpuProcess, Row
from comfysoak_core.value import value
from comfysoak_probes.nvml.field_values import FieldValues, Wanted
from comfysoak_probes.nvml.fields import WHOLE_ONLY, Fields, hertz, ratio, scaled
from comfysoak_probes.nvml.nvlinks import NvLinks
from comfysoak_probes.nvml.opened import OpenGpu
from comfysoak_probes.nvml.processes import (
    EMPTY,
    HIDDEN,
    NO_MEMORY,
    NOT_HERE,
    OWN,
    GpuProcesses,
    Holder,
    Holdings,
    holdings,
)
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.source import Tick

REMAPPED: Final = "rows_remapped_corrected,rows_remapped_uncorrected,remapping_pending,remapping_failed"
FOREIGN: Final = "server_bytes,foreign_processes,foreign_bytes"
PROCESSES_MOST: Final = 64
MILLI: Final = 1e-3

WANTED: Final = (
    Wanted("ecc_corrected", pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL),
    Wanted("ecc_uncorrected", pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL),
    Wanted("ecc_uncorrected_lifetime", pynvml.NVML_FI_DEV_ECC_DBE_AGG_TOTAL),
    Wanted("pcie_replays", pynvml.NVML_FI_DEV_PCIE_REPLAY_COUNTER),
)
COMPUTE_MODES: Final = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "default",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "exclusive_thread",
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive_process",
}

# What is told of a GPU, and not of a MIG instance of it; as the calls below fill it.
OF_WHOLE: Final = (
    "ecc_corrected", "ecc_uncorrected", "ecc_uncorrected_lifetime", REMAPPED, "pcie_replays", "pcie_generation",
    "pcie_generation_most", "pcie_width", "pcie_width_most", "nvlinks_active", "nvlink_errors", "fan_ratio",
    "encoder_ratio", "decoder_ratio", "sm_clock_most_hertz", "memory_clock_most_hertz", "slowdown_celsius",
    "power_limit_default_watts", "persistence_mode", "compute_mode", "mig_mode",
)  # fmt: skip


class HealthReader:
    """Reads one GPU, or one MIG instance."""

    def __init__(self, gpu: OpenGpu, names: ProcessNames, *, host: str, source: str, clock: Clock) -> None:
        self._gpu = gpu
        self._names = names
        self._host = host
        self._source = source
        self._clock = clock
        self._fields = Fields(gpu)
        self._processes = GpuProcesses(self._fields)
        self._links = NvLinks(self._fields)
        self._values: FieldValues | None = None
        if gpu.device.parent is not None:
            for columns in OF_WHOLE:
                self._fields.note(columns, WHOLE_ONLY, lasting=True)

    def read(self, tick: Tick) -> list[Row]:
        """The row of now, and one for each process. Raises DriverError when the whole GPU is gone."""
        began_ns = self._clock.now_ns()
        users = self._processes.read()
        listed_ns = self._clock.now_ns()
        found = holdings(users, self._names)
        self._note(found)
        health = self._health(tick, self._clock.now_ns(), listed_ns - began_ns, found)
        moment = Moment((began_ns + listed_ns) // 2, listed_ns - began_ns, max(0, began_ns - tick.deadline_ns))
        return [health, *(self._process(holder, moment, found) for holder in found.holders[:PROCESSES_MOST])]

    def _note(self, found: Holdings) -> None:
        if found.why is None:
            self._fields.clear(FOREIGN)
            for column, size in (("server_bytes", found.server_bytes), ("foreign_bytes", found.foreign_bytes)):
                if size is None:
                    self._fields.note(column, NO_MEMORY)
        else:
            self._fields.note(FOREIGN, found.why)
        if found.why == EMPTY:
            self._fields.note("processes", EMPTY)

    def _health(self, tick: Tick, began_ns: int, listing_ns: int, found: Holdings) -> GpuHealth:
        """The row, of calls that begin now; `listing_ns` is what the list of processes took."""
        get, once = self._fields.get, self._fields.get_once
        ecc_corrected, ecc_uncorrected, ecc_lifetime, replays, *link_errors = self._field_values()
        remapped = get(REMAPPED, pynvml.nvmlDeviceGetRemappedRows) or (None, None, None, None)
        generation = get("pcie_generation", pynvml.nvmlDeviceGetCurrPcieLinkGeneration)
        width = get("pcie_width", pynvml.nvmlDeviceGetCurrPcieLinkWidth)
        active = self._links.active()
        fan = get("fan_ratio", pynvml.nvmlDeviceGetFanSpeed)
        encoder = get("encoder_ratio", pynvml.nvmlDeviceGetEncoderUtilization)
        decoder = get("decoder_ratio", pynvml.nvmlDeviceGetDecoderUtilization)
        persistence = get("persistence_mode", pynvml.nvmlDeviceGetPersistenceMode)
        mode = get("compute_mode", pynvml.nvmlDeviceGetComputeMode)
        mig = get("mig_mode", pynvml.nvmlDeviceGetMigMode)
        generation_most = once("pcie_generation_most", pynvml.nvmlDeviceGetMaxPcieLinkGeneration)
        width_most = once("pcie_width_most", pynvml.nvmlDeviceGetMaxPcieLinkWidth)
        sm_most = once("sm_clock_most_hertz", pynvml.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_SM)
        memory_most = once("memory_clock_most_hertz", pynvml.nvmlDeviceGetMaxClockInfo, pynvml.NVML_CLOCK_MEM)
        slowdown = once(
            "slowdown_celsius", pynvml.nvmlDeviceGetTemperatureThreshold, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        )
        limit = once("power_limit_default_watts", pynvml.nvmlDeviceGetPowerManagementDefaultLimit)
        ended_ns = self._clock.now_ns()
        return GpuHealth(
            at_ns=(began_ns + ended_ns) // 2,
            read_cost_ns=ended_ns - began_ns + listing_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            source=self._source,
            uuid=self._gpu.device.uuid,
            index=self._gpu.device.index,
            instance=self._gpu.device.instance,
            ecc_corrected=_whole(ecc_corrected),
            ecc_uncorrected=_whole(ecc_uncorrected),
            ecc_uncorrected_lifetime=_whole(ecc_lifetime),
            rows_remapped_corrected=remapped[0],
            rows_remapped_uncorrected=remapped[1],
            remapping_pending=_flag(remapped[2]),
            remapping_failed=_flag(remapped[3]),
            pcie_replays=_whole(replays),
            pcie_generation=generation,
            pcie_generation_most=generation_most,
            pcie_width=width,
            pcie_width_most=width_most,
            nvlinks_active=active,
            nvlink_errors=self._links.errors(link_errors),
            fan_ratio=ratio(fan),
            encoder_ratio=ratio(encoder[0] if encoder else None),
            decoder_ratio=ratio(decoder[0] if decoder else None),
            sm_clock_most_hertz=hertz(sm_most),
            memory_clock_most_hertz=hertz(memory_most),
            slowdown_celsius=scaled(slowdown, 1.0),
            power_limit_default_watts=scaled(limit, MILLI),
            persistence_mode=_flag(persistence),
            compute_mode=None if mode is None else COMPUTE_MODES.get(mode, str(mode)),
            mig_mode=_flag(mig[0]) if mig else None,
            processes=found.processes,
            server_bytes=found.server_bytes,
            foreign_processes=found.foreign_processes,
            foreign_bytes=found.foreign_bytes,
            missing=self._fields.missing(),
        )

    def _field_values(self) -> list[float | None]:
        if self._values is None or not self._links.all_found:
            self._links.find()
            self._values = FieldValues(
                self._fields, [*WANTED, *self._links.wanted()], ask=self._gpu.device.parent is None
            )
        return self._values.read()

    def _process(self, holder: Holder, moment: Moment, found: Holdings) -> GpuProcess:
        user = holder.user
        reasons = [] if holder.name is not None else [f"name: {NOT_HERE if found.matched else HIDDEN}"]
        if user.memory_bytes is None:
            reasons.append(f"memory_bytes: {NO_MEMORY}")
        if user.utilisation_ratio is None:
            reasons.append(self._processes.no_utilisation())
        if holder.server is None:
            reasons.append(f"is_server: {OWN if holder.own else found.why}")
        return GpuProcess(
            at_ns=moment.at_ns,
            read_cost_ns=moment.cost_ns,
            late_ns=moment.late_ns,
            host=self._host,
            uuid=self._gpu.device.uuid,
            instance=self._gpu.device.instance,
            pid=user.pid,
            kind=user.kind,
            name=holder.name,
            memory_bytes=user.memory_bytes,
            utilisation_ratio=user.utilisation_ratio,
            is_server=holder.server,
            missing="; ".join(reasons) or None,
        )


@value()
class Moment:
    """When something was read, and at what cost."""

    at_ns: int
    cost_ns: int
    late_ns: int


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


def _flag(state: int | None) -> bool | None:
    return None if state is None else bool(state)

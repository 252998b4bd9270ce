"""Rows of the three GPU tables from what an exporter says of a GPU: units, other names of a series, what is missing.

Throttling times are nanoseconds, whatever the HELP line says: until the end of 2025 dcgm-exporter's said microseconds,
of the same numbers, which DCGM takes from the driver's nanoseconds as they are. PCIe and NVLink series are rates, also
where their TYPE says counter. From 2026 on DCGM calls some fields by new names, which stand second here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from comfysoak_core.rows import Gpu, GpuHealth, GpuSlow
from comfysoak_probes.dcgm.series import XID_SERIES, Reading
from comfysoak_probes.reasons import event_reasons

SOURCE = "dcgm"
MIB = 1024 * 1024
_DEV, _PROF = "DCGM_FI_DEV_", "DCGM_FI_PROF_"
_MOST = float(2**62)
_NVLINK_ERRORS = tuple(f"NVLINK_{kind}_ERROR_COUNT_TOTAL" for kind in ("CRC_FLIT", "CRC_DATA", "REPLAY", "RECOVERY"))
_COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
_NOT_BY_EXPORTERS: Final = "not told by exporters"
_NOT_OF_INSTANCES: Final = "not told of MIG instances"


@dataclass(frozen=True, slots=True)
class When:
    """When a scrape began, how long it took, and how late it was, in nanoseconds."""

    at_ns: int
    cost_ns: int
    late_ns: int


@dataclass(slots=True)
class Columns:
    """Values by series, and why a column has none. `ever`: the series this GPU has had before."""

    reading: Reading
    ever: Collection[str] = ()
    absent: list[tuple[str, str]] = field(default_factory=list)

    def told(
        self, column: str, *names: str, unit: float = 1.0, most: float = _MOST, prefix: str = _DEV
    ) -> float | None:
        """The value of the first of these series that is there, in our unit: 0 to `most`."""
        for name in names:
            value = self.reading.values.get(prefix + name)
            if value is None:
                continue
            if 0 <= value * unit <= most:
                return value * unit
            self.lack(column, f"the exporter says {value:g}")
            return None
        blank = next((prefix + name for name in names if prefix + name in self.reading.blank), None)
        if blank is not None:
            self.lack(column, f"the exporter has {blank} without a value")
            return None
        gone = next((prefix + name for name in names if prefix + name in self.ever), None)
        self.lack(column, f"the exporter no longer has {gone}" if gone else f"the exporter has no {prefix}{names[0]}")
        return None

    def whole(self, column: str, *names: str, unit: float = 1.0) -> int | None:
        """As `told`, as a whole number."""
        value = self.told(column, *names, unit=unit)
        return None if value is None else round(value)

    def share(self, column: str, *names: str) -> float | None:
        """Percent as a share."""
        return self.told(column, *names, unit=0.01, most=1.0)

    def active(self, column: str, *names: str) -> float | None:
        """One of the profiling shares."""
        return self.told(column, *names, most=1.0, prefix=_PROF)

    def flag(self, column: str, *names: str) -> bool | None:
        """Whether a value is not 0."""
        value = self.told(column, *names)
        return None if value is None else value != 0

    def total(self, column: str, *parts: int) -> int | None:
        """The sum of parts, as long as a column can hold it."""
        if (total := sum(parts)) <= _MOST:
            return total
        self.lack(column, f"the exporter's parts sum up to {total:.3g}")
        return None

    def lack(self, column: str, reason: str) -> None:
        """Note why a column has no value."""
        self.absent.append((column, reason))

    def missing(self) -> str | None:
        """`column: reason` for each column without a value."""
        return _as_text(tuple(self.absent))


@lru_cache(maxsize=256)
def _as_text(absent: tuple[tuple[str, str], ...]) -> str | None:
    """The same columns are missing in row after row."""
    return "; ".join(f"{column}: {reason}" for column, reason in absent) or None


def gpu_row(reading: Reading, when: When, ever: Collection[str] = ()) -> Gpu:
    """What changes fast about one GPU."""
    columns, identity = Columns(reading, ever), reading.identity
    used = columns.whole("memory_used_bytes", "FB_USED", unit=MIB)
    return Gpu(
        at_ns=when.at_ns,
        read_cost_ns=when.cost_ns,
        late_ns=when.late_ns,
        host=identity.host,
        source=SOURCE,
        uuid=identity.uuid,
        index=identity.index,
        instance=identity.instance,
        memory_used_bytes=used,
        memory_total_bytes=_total(columns, used),
        memory_reserved_bytes=columns.whole("memory_reserved_bytes", "FB_RESERVED", unit=MIB),
        utilisation_ratio=_utilisation(columns, "utilisation_ratio", "GPU_UTIL", "GPU_UTIL_RATIO"),
        memory_utilisation_ratio=_utilisation(columns, "memory_utilisation_ratio", "MEM_COPY_UTIL"),
        missing=columns.missing(),
    )


def _utilisation(
    columns: Columns, column: str, *names: str, instead: str = ", see graphics_active_ratio"
) -> float | None:
    """Not of a MIG instance: what some exporters say there is a zero that means nothing."""
    if columns.reading.identity.instance is None:
        return columns.share(column, *names)
    columns.lack(column, _NOT_OF_INSTANCES + instead)
    return None


def _total(columns: Columns, used: int | None) -> int | None:
    """As told, or the sum of its parts: used, free and (where it is told) reserved."""
    values = columns.reading.values
    if _DEV + "FB_TOTAL" in values:
        return columns.whole("memory_total_bytes", "FB_TOTAL", unit=MIB)
    free = columns.whole("memory_total_bytes", "FB_FREE", unit=MIB)
    if free is None:
        return None
    if used is None:
        columns.lack("memory_total_bytes", f"the exporter has no {_DEV}FB_USED")
        return None
    reserved = max(0, round(values.get(_DEV + "FB_RESERVED", 0.0) * MIB))
    return columns.total("memory_total_bytes", used, free, reserved)


def gpu_slow_row(reading: Reading, when: When, ever: Collection[str] = ()) -> GpuSlow:
    """What changes slowly about one GPU, and the profiling series."""
    columns, identity = Columns(reading, ever), reading.identity
    told, active = columns.told, columns.active
    for column in ("utilisation_mean_ratio", "utilisation_highest_ratio", "utilisation_samples"):
        columns.lack(column, _NOT_BY_EXPORTERS)
    return GpuSlow(
        at_ns=when.at_ns,
        read_cost_ns=when.cost_ns,
        late_ns=when.late_ns,
        host=identity.host,
        source=SOURCE,
        uuid=identity.uuid,
        index=identity.index,
        instance=identity.instance,
        name=identity.name,
        graphics_active_ratio=active("graphics_active_ratio", "GR_ENGINE_ACTIVE", "GR_ENGINE_UTIL_RATIO"),
        sm_active_ratio=active("sm_active_ratio", "SM_ACTIVE", "SM_UTIL_RATIO"),
        sm_occupancy_ratio=active("sm_occupancy_ratio", "SM_OCCUPANCY", "SM_OCCUPANCY_RATIO"),
        tensor_active_ratio=active("tensor_active_ratio", "PIPE_TENSOR_ACTIVE", "TENSOR_UTIL_RATIO"),
        memory_active_ratio=active("memory_active_ratio", "DRAM_ACTIVE", "DRAM_UTIL_RATIO"),
        power_watts=told("power_watts", "POWER_USAGE", "BOARD_POWER_WATTS"),
        power_limit_watts=told(
            "power_limit_watts", "ENFORCED_POWER_LIMIT", "BOARD_POWER_LIMIT_ENFORCED_WATTS", "POWER_MGMT_LIMIT"
        ),
        energy_joules=told("energy_joules", "TOTAL_ENERGY_CONSUMPTION", unit=0.001),
        temperature_celsius=told("temperature_celsius", "GPU_TEMP", "GPU_TEMP_CELSIUS"),
        memory_temperature_celsius=_memory_temperature(columns),
        performance_state=columns.whole("performance_state", "PSTATE", "GPU_PSTATE"),
        sm_clock_hertz=columns.whole("sm_clock_hertz", "SM_CLOCK", unit=1e6),
        memory_clock_hertz=columns.whole("memory_clock_hertz", "MEM_CLOCK", unit=1e6),
        event_reasons=_event_reasons(columns),
        power_throttled_s=told(
            "power_throttled_s", "POWER_VIOLATION", "CLOCKS_EVENT_REASON_SW_POWER_CAP_NS", unit=1e-9
        ),
        thermal_throttled_s=told("thermal_throttled_s", "THERMAL_VIOLATION", unit=1e-9),
        pcie_sent_bytes_per_s=told("pcie_sent_bytes_per_s", "PCIE_TX_BYTES", prefix=_PROF),
        pcie_received_bytes_per_s=told("pcie_received_bytes_per_s", "PCIE_RX_BYTES", prefix=_PROF),
        nvlink_sent_bytes_per_s=told("nvlink_sent_bytes_per_s", "NVLINK_TX_BYTES", prefix=_PROF),
        nvlink_received_bytes_per_s=told("nvlink_received_bytes_per_s", "NVLINK_RX_BYTES", prefix=_PROF),
        xid=columns.whole("xid", *(name.removeprefix(_DEV) for name in XID_SERIES)),
        missing=columns.missing(),
    )


def _event_reasons(columns: Columns) -> str | None:
    bits = columns.whole("event_reasons", "CLOCKS_EVENT_REASONS", "CLOCK_THROTTLE_REASONS")
    return None if bits is None else event_reasons(bits)


def _memory_temperature(columns: Columns) -> float | None:
    """0 is what exporters say of a GPU that has no such sensor."""
    column = "memory_temperature_celsius"
    value = columns.told(column, "MEMORY_TEMP", "MEMORY_TEMP_CELSIUS")
    if value != 0:
        return value
    columns.lack(column, "the exporter says 0: it has no such sensor")
    return None


def gpu_health_row(reading: Reading, when: When, ever: Collection[str] = ()) -> GpuHealth:
    """What hardly ever changes about one GPU, and counters of errors."""
    columns, identity = Columns(reading, ever), reading.identity
    whole = columns.whole
    compute_mode = whole("compute_mode", "COMPUTE_MODE", "GPU_COMPUTE_MODE")
    for column in ("nvlinks_active", "processes", "server_bytes", "foreign_processes", "foreign_bytes"):
        columns.lack(column, _NOT_BY_EXPORTERS)
    return GpuHealth(
        at_ns=when.at_ns,
        read_cost_ns=when.cost_ns,
        late_ns=when.late_ns,
        host=identity.host,
        source=SOURCE,
        uuid=identity.uuid,
        index=identity.index,
        instance=identity.instance,
        ecc_corrected=whole("ecc_corrected", "ECC_SBE_VOL_TOTAL"),
        ecc_uncorrected=whole("ecc_uncorrected", "ECC_DBE_VOL_TOTAL"),
        ecc_uncorrected_lifetime=whole("ecc_uncorrected_lifetime", "ECC_DBE_AGG_TOTAL"),
        rows_remapped_corrected=whole(
            "rows_remapped_corrected", "CORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_CORRECTABLE_TOTAL"
        ),
        rows_remapped_uncorrected=whole(
            "rows_remapped_uncorrected", "UNCORRECTABLE_REMAPPED_ROWS", "ROW_REMAP_UNCORRECTABLE_TOTAL"
        ),
        remapping_pending=columns.flag("remapping_pending", "ROW_REMAP_PENDING"),
        remapping_failed=columns.flag("remapping_failed", "ROW_REMAP_FAILURE", "ROW_REMAP_FAILED"),
        pcie_replays=whole("pcie_replays", "PCIE_REPLAY_COUNTER", "PCIE_REPLAY_TOTAL"),
        pcie_generation=whole("pcie_generation", "PCIE_LINK_GEN"),
        pcie_generation_most=whole("pcie_generation_most", "PCIE_MAX_LINK_GEN"),
        pcie_width=whole("pcie_width", "PCIE_LINK_WIDTH"),
        pcie_width_most=whole("pcie_width_most", "PCIE_MAX_LINK_WIDTH"),
        nvlink_errors=_nvlink_errors(columns),
        fan_ratio=columns.share("fan_ratio", "FAN_SPEED"),
        encoder_ratio=_utilisation(columns, "encoder_ratio", "ENC_UTIL", instead=""),
        decoder_ratio=_utilisation(columns, "decoder_ratio", "DEC_UTIL", instead=""),
        sm_clock_most_hertz=whole("sm_clock_most_hertz", "MAX_SM_CLOCK", unit=1e6),
        memory_clock_most_hertz=whole("memory_clock_most_hertz", "MAX_MEM_CLOCK", unit=1e6),
        slowdown_celsius=columns.told("slowdown_celsius", "SLOWDOWN_TEMP", "GPU_TEMP_SLOWDOWN_CELSIUS"),
        power_limit_default_watts=columns.told(
            "power_limit_default_watts", "POWER_MGMT_LIMIT_DEF", "BOARD_POWER_LIMIT_DEFAULT_WATTS"
        ),
        persistence_mode=columns.flag("persistence_mode", "PERSISTENCE_MODE", "GPU_PERSISTENCE_MODE"),
        compute_mode=None if compute_mode is None else _COMPUTE_MODES.get(compute_mode, str(compute_mode)),
        mig_mode=True if identity.instance is not None else columns.flag("mig_mode", "MIG_MODE"),
        missing=columns.missing(),
    )


def _nvlink_errors(columns: Columns) -> int | None:
    """Of all four kinds, those that are told."""
    told = [columns.reading.values.get(_DEV + name) for name in _NVLINK_ERRORS]
    if all(count is None for count in told):
        return columns.whole("nvlink_errors", *_NVLINK_ERRORS)  # for the reason
    return columns.total("nvlink_errors", *(round(count) for count in told if count is not None and count >= 0))

"""GPUs of another host by the series of dcgm-exporter, or of anything that publishes the same names.

Pure: a scrape in, rows out. `exporter.py` does the asking.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from comfysoak_core.rows import Gpu, GpuSlow
from comfysoak_probes.prometheus import Scrape
from comfysoak_probes.reasons import event_reasons

SOURCE = "dcgm"
MIB = 1024 * 1024
GPUS_MOST = 256

Values = dict[str, float]  # series name -> value, of one GPU


@dataclass(frozen=True, slots=True)
class Identity:
    """Which GPU a series is about, by its labels."""

    host: str
    uuid: str
    index: int | None
    name: str | None
    driver: str | None = None

    @classmethod
    def of(cls, labels: Mapping[str, str], exporter: str) -> Identity | None:
        """None for a series that names no GPU. An exporter that gives no UUID gets one made of host and index."""
        gpu = labels.get("gpu", "")
        uuid = labels.get("UUID") or labels.get("uuid")
        if not uuid and not gpu:
            return None
        host = (labels.get("Hostname") or labels.get("hostname") or exporter)[:200]
        index = int(gpu) if gpu.isdecimal() and len(gpu) < 6 else None
        name, driver = labels.get("modelName", "")[:200], labels.get("DCGM_FI_DRIVER_VERSION", "")[:40]
        return cls(host, (uuid or f"{host}/gpu{gpu}")[:200], index, name or None, driver or None)


def by_gpu(scrape: Scrape, exporter: str) -> dict[Identity, Values]:
    """The DCGM values of each GPU in a scrape. Series of MIG instances are left to a later version."""
    found: dict[Identity, Values] = defaultdict(dict)
    for series, value in scrape.samples:
        if not series.name.startswith("DCGM_FI_") or "GPU_I_ID" in series.labels:
            continue
        identity = Identity.of(series.labels, exporter)
        if identity is not None and value == value and len(found) <= GPUS_MOST:  # NaN: no value
            found[identity][series.name] = value
    return dict(found)


def gpu_row(identity: Identity, values: Values, *, at_ns: int, cost_ns: int, late_ns: int) -> Gpu:
    """What changes fast about one GPU."""
    columns = _Columns(values)
    used = columns.scaled("memory_used_bytes", "DCGM_FI_DEV_FB_USED", MIB)
    return Gpu(
        at_ns=at_ns,
        read_cost_ns=cost_ns,
        late_ns=late_ns,
        host=identity.host,
        source=SOURCE,
        uuid=identity.uuid,
        index=identity.index,
        memory_used_bytes=whole(used),
        memory_total_bytes=whole(_total(columns, used)),
        memory_reserved_bytes=whole(columns.scaled("memory_reserved_bytes", "DCGM_FI_DEV_FB_RESERVED", MIB)),
        utilisation_ratio=columns.scaled("utilisation_ratio", "DCGM_FI_DEV_GPU_UTIL", 0.01),
        memory_utilisation_ratio=columns.scaled("memory_utilisation_ratio", "DCGM_FI_DEV_MEM_COPY_UTIL", 0.01),
        missing=columns.missing(),
    )


def _total(columns: _Columns, used: float | None) -> float | None:
    """As told, or the sum of its parts: used, free and (where it is told) reserved."""
    told = columns.values.get("DCGM_FI_DEV_FB_TOTAL")
    free = columns.values.get("DCGM_FI_DEV_FB_FREE")
    if told is not None:
        return told * MIB
    if used is None or free is None:
        columns.absent.append(("memory_total_bytes", "DCGM_FI_DEV_FB_FREE"))
        return None
    return used + (free + columns.values.get("DCGM_FI_DEV_FB_RESERVED", 0.0)) * MIB


def gpu_slow_row(identity: Identity, values: Values, *, at_ns: int, cost_ns: int, late_ns: int) -> GpuSlow:
    """What changes slowly about one GPU."""
    columns = _Columns(values)
    reasons = columns.first("event_reasons", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
    return GpuSlow(
        at_ns=at_ns,
        read_cost_ns=cost_ns,
        late_ns=late_ns,
        host=identity.host,
        source=SOURCE,
        uuid=identity.uuid,
        index=identity.index,
        name=identity.name,
        power_watts=columns.scaled("power_watts", "DCGM_FI_DEV_POWER_USAGE", 1.0),
        power_limit_watts=columns.first(
            "power_limit_watts", "DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT"
        ),
        energy_joules=columns.scaled("energy_joules", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 0.001),
        temperature_celsius=columns.scaled("temperature_celsius", "DCGM_FI_DEV_GPU_TEMP", 1.0),
        sm_clock_hertz=whole(columns.scaled("sm_clock_hertz", "DCGM_FI_DEV_SM_CLOCK", 1e6)),
        memory_clock_hertz=whole(columns.scaled("memory_clock_hertz", "DCGM_FI_DEV_MEM_CLOCK", 1e6)),
        event_reasons=None if reasons is None else event_reasons(whole(reasons) or 0),
        pcie_sent_bytes_per_s=columns.scaled("pcie_sent_bytes_per_s", "DCGM_FI_PROF_PCIE_TX_BYTES", 1.0),
        pcie_received_bytes_per_s=columns.scaled("pcie_received_bytes_per_s", "DCGM_FI_PROF_PCIE_RX_BYTES", 1.0),
        xid=whole(columns.scaled("xid", "DCGM_FI_DEV_XID_ERRORS", 1.0)),
        missing=columns.missing(),
    )


@dataclass(slots=True)
class _Columns:
    """Values by series, and which series were not there."""

    values: Values
    absent: list[tuple[str, str]] = field(default_factory=list)

    def scaled(self, column: str, series: str, factor: float) -> float | None:
        value = self.values.get(series)
        if value is None:
            self.absent.append((column, series))
            return None
        return value * factor

    def first(self, column: str, *series: str) -> float | None:
        for name in series:
            if name in self.values:
                return self.values[name]
        self.absent.append((column, series[0]))
        return None

    def missing(self) -> str | None:
        told = "; ".join(f"{column}: the exporter has no {series}" for column, series in self.absent)
        return told or None


def whole(value: float | None) -> int | None:
    """`value` as a column of whole numbers can hold it."""
    return round(value) if value is not None and abs(value) < 2**63 else None

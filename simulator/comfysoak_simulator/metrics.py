"""The virtual GPU as Prometheus text, as dcgm-exporter writes it.

Series stand in the order of DCGM's field numbers; a label's place is: which GPU, host, what is told as a label, then
what only this series has. Beside what it publishes where nobody chose stand those that are worth choosing: why clocks
are low, and how long in all; how busy the SMs were.
"""

from __future__ import annotations

import socket
from uuid import UUID

from comfysoak_simulator.gpu import Gpu, Reading

MIB = 1024**2
_XID = "DCGM_FI_DEV_XID_ERRORS"
_SERIES: tuple[tuple[str, str, str], ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "gauge", "Current clock event reasons."),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "gauge", "Effective power limit (in W)."),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries."),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %)."),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %)."),
    (_XID, "gauge", "Value of the last XID error encountered."),
    ("DCGM_FI_DEV_POWER_VIOLATION", "counter", "Throttling duration due to power constraints (in ns)."),
    ("DCGM_FI_DEV_THERMAL_VIOLATION", "counter", "Throttling duration due to thermal constraints (in ns)."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB)."),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for uncorrectable errors"),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Number of remapped rows for correctable errors"),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed"),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active."),
    ("DCGM_FI_PROF_SM_ACTIVE", "gauge", "The ratio of cycles an SM has at least 1 warp assigned."),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "gauge", "The ratio of number of warps resident on an SM."),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "gauge", "Ratio of cycles the tensor (HMMA) pipe is active."),
    (
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "gauge",
        "Ratio of cycles the device memory interface is active sending or receiving data.",
    ),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", "gauge", "The rate of data transmitted over the PCIe bus in bytes per second."),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", "gauge", "The rate of data received over the PCIe bus in bytes per second."),
)
_XID_WORDS = {0: "No Error", 31: "GPU memory page fault", 48: "Double Bit ECC Error", 79: "GPU has fallen off the bus"}
_IDLE, _SOFTWARE_THERMAL = 0x1, 0x20
_SENT_SHARE = 0.1  # of what is received
DRIVER_VERSION = "580.65.06"


def gpu_uuid(index: int) -> str:
    """The UUID of the GPU of server `index`, always the same."""
    return f"GPU-{UUID(int=(0xC0FFEE << 96) + index)}"


def as_prometheus_text(gpu: Gpu, index: int, now_ns: int) -> str:
    """What GET /metrics answers; a GPU that is lost has only its last Xid left."""
    reading = gpu.read(now_ns)
    labels = (
        f'gpu="{index}",UUID="{gpu_uuid(index)}",pci_bus_id="00000000:{index + 1:02X}:00.0",device="nvidia{index}",'
        f'modelName="{_escaped(gpu.spec.name)}",Hostname="{_escaped(socket.gethostname())}",'
        f'DCGM_FI_DRIVER_VERSION="{DRIVER_VERSION}"'
    )
    values = _values(reading)
    lines: list[str] = []
    for name, kind, meaning in _SERIES:
        if gpu.lost_xid is not None and name != _XID:
            continue
        own = f',err_code="{reading.xid}",err_msg="{_XID_WORDS.get(reading.xid, "Unknown Error")}"'
        inside = labels + (own if name == _XID else "")
        lines += (f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name}{{{inside}}} {_written(values[name])}")
    return "\n".join(lines) + "\n"


def _values(reading: Reading) -> dict[str, float]:
    used, reserved, activity = reading.used_bytes // MIB, reading.reserved_bytes // MIB, reading.activity
    throttled = _SOFTWARE_THERMAL if reading.throttled else 0
    return {
        "DCGM_FI_DEV_SM_CLOCK": reading.sm_mhz,
        "DCGM_FI_DEV_MEM_CLOCK": reading.memory_mhz,
        "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": throttled if reading.utilisation else throttled | _IDLE,
        "DCGM_FI_DEV_MEMORY_TEMP": round(reading.celsius) + 6,
        "DCGM_FI_DEV_GPU_TEMP": round(reading.celsius),
        "DCGM_FI_DEV_POWER_USAGE": float(reading.watts),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": round(reading.energy_joules * 1000),
        "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": float(reading.limit_watts),
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
        "DCGM_FI_DEV_GPU_UTIL": round(reading.utilisation * 100),
        "DCGM_FI_DEV_MEM_COPY_UTIL": round(reading.memory_utilisation * 100),
        "DCGM_FI_DEV_ENC_UTIL": 0,
        "DCGM_FI_DEV_DEC_UTIL": 0,
        _XID: reading.xid,
        "DCGM_FI_DEV_POWER_VIOLATION": 0,
        "DCGM_FI_DEV_THERMAL_VIOLATION": reading.throttled_ns,
        "DCGM_FI_DEV_FB_FREE": reading.total_bytes // MIB - used,
        "DCGM_FI_DEV_FB_USED": used - reserved,
        "DCGM_FI_DEV_FB_RESERVED": reserved,
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
        "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0,
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": min(activity.utilisation, 1.0),
        "DCGM_FI_PROF_SM_ACTIVE": min(activity.sm, 1.0),
        "DCGM_FI_PROF_SM_OCCUPANCY": min(activity.occupancy, 1.0),
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": min(activity.tensor, 1.0),
        "DCGM_FI_PROF_DRAM_ACTIVE": min(activity.memory, 1.0),
        "DCGM_FI_PROF_PCIE_TX_BYTES": round(activity.received_bytes_per_s * _SENT_SHARE),
        "DCGM_FI_PROF_PCIE_RX_BYTES": round(activity.received_bytes_per_s),
    }


def _written(value: float) -> str:
    """Whole numbers as they are, others with six digits, as DCGM's two kinds of fields are."""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

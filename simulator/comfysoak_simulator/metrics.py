"""The virtual GPU as Prometheus text, series and labels as dcgm-exporter names them."""

from __future__ import annotations

import socket
from uuid import UUID

from comfysoak_simulator.gpu import Gpu, Reading

MIB = 1024**2
_SERIES: tuple[tuple[str, str, str], ...] = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)."),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W)."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy consumption since boot (in mJ)."),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %)."),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB)."),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)."),
    ("DCGM_FI_DEV_FB_RESERVED", "gauge", "Framebuffer memory reserved (in MiB)."),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered."),
)
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
        if gpu.lost_xid is not None and name != "DCGM_FI_DEV_XID_ERRORS":
            continue
        lines += (f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", f"{name}{{{labels}}} {values[name]}")
    return "\n".join(lines) + "\n"


def _values(reading: Reading) -> dict[str, int | str]:
    used, reserved = reading.used_bytes // MIB, reading.reserved_bytes // MIB
    return {
        "DCGM_FI_DEV_SM_CLOCK": reading.sm_mhz,
        "DCGM_FI_DEV_MEM_CLOCK": reading.memory_mhz,
        "DCGM_FI_DEV_GPU_TEMP": round(reading.celsius),
        "DCGM_FI_DEV_POWER_USAGE": f"{reading.watts:.6f}",
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": round(reading.energy_joules * 1000),
        "DCGM_FI_DEV_GPU_UTIL": round(reading.utilisation * 100),
        "DCGM_FI_DEV_MEM_COPY_UTIL": round(reading.memory_utilisation * 100),
        "DCGM_FI_DEV_FB_FREE": reading.total_bytes // MIB - used,
        "DCGM_FI_DEV_FB_USED": used - reserved,
        "DCGM_FI_DEV_FB_RESERVED": reserved,
        "DCGM_FI_DEV_XID_ERRORS": reading.xid,
    }


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

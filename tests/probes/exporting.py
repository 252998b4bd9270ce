"""Text as dcgm-exporter writes it: HELP and TYPE before each series, the labels of a GPU in its order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

USUAL = {  # what it publishes where nobody chose
    "DCGM_FI_DEV_SM_CLOCK": "1980",
    "DCGM_FI_DEV_MEM_CLOCK": "2619",
    "DCGM_FI_DEV_MEMORY_TEMP": "51",
    "DCGM_FI_DEV_GPU_TEMP": "62",
    "DCGM_FI_DEV_POWER_USAGE": "401.604000",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "123456789",
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": "3",
    "DCGM_FI_DEV_GPU_UTIL": "97",
    "DCGM_FI_DEV_MEM_COPY_UTIL": "31",
    "DCGM_FI_DEV_ENC_UTIL": "0",
    "DCGM_FI_DEV_DEC_UTIL": "2",
    "DCGM_FI_DEV_XID_ERRORS": "0",
    "DCGM_FI_DEV_FB_FREE": "60000",
    "DCGM_FI_DEV_FB_USED": "20559",
    "DCGM_FI_DEV_FB_RESERVED": "1000",
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": "1",
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": "0",
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": "0",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": "0.951234",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": "0.412000",
    "DCGM_FI_PROF_DRAM_ACTIVE": "0.300500",
    "DCGM_FI_PROF_PCIE_TX_BYTES": "1500000",
    "DCGM_FI_PROF_PCIE_RX_BYTES": "2500000",
}
CHOSEN = {  # further ones, by a file of counters of one's own
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": "5",
    "DCGM_FI_DEV_PSTATE": "0",
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": "700.000000",
    "DCGM_FI_DEV_POWER_VIOLATION": "2500000000",
    "DCGM_FI_DEV_THERMAL_VIOLATION": "0",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": "4",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": "0",
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": "1",
    "DCGM_FI_DEV_ROW_REMAP_PENDING": "1",
    "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": "2",
    "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL": "5",
    "DCGM_FI_DEV_FAN_SPEED": "40",
    "DCGM_FI_DEV_PCIE_LINK_GEN": "5",
    "DCGM_FI_DEV_MAX_SM_CLOCK": "1980",
    "DCGM_FI_DEV_COMPUTE_MODE": "0",
    "DCGM_FI_DEV_MIG_MODE": "0",
    "DCGM_FI_PROF_SM_ACTIVE": "0.871000",
    "DCGM_FI_PROF_SM_OCCUPANCY": "0.310000",
    "DCGM_FI_PROF_NVLINK_TX_BYTES": "7000000",
    "DCGM_FI_PROF_NVLINK_RX_BYTES": "8000000",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or MIG instance, of an exporter: its labels and its values."""

    number: int = 0
    uuid: str = "GPU-abc"
    host: str | None = "gpu-1"
    instance: tuple[str, str] | None = None  # profile and number
    values: Mapping[str, str] = field(default_factory=lambda: USUAL)
    attributes: Mapping[str, str] = field(default_factory=dict)  # pods, and the like: last of all
    host_label: str = "Hostname"

    def labels(self, series: str) -> str:
        pairs = {
            "gpu": str(self.number),
            "UUID": self.uuid,
            "pci_bus_id": f"00000000:{self.number + 0x17:02X}:00.0",
            "device": f"nvidia{self.number}",
            "modelName": "NVIDIA H100 80GB HBM3",
        }
        if self.instance is not None:
            pairs |= {"GPU_I_PROFILE": self.instance[0], "GPU_I_ID": self.instance[1]}
        if self.host is not None:
            pairs[self.host_label] = self.host
        pairs["DCGM_FI_DRIVER_VERSION"] = "570.133.20"
        attributes = dict(self.attributes)
        if series == "DCGM_FI_DEV_XID_ERRORS":
            attributes |= {"err_code": self.values[series], "err_msg": _WORDS.get(self.values[series], "Unknown Error")}
        pairs |= dict(sorted(attributes.items()))
        return ",".join(f'{name}="{value}"' for name, value in pairs.items())


_WORDS = {"0": "No Error", "31": "GPU memory page fault", "79": "GPU has fallen off the bus"}


def exported(*gpus: Gpu) -> str:
    """The whole text for these GPUs, series by series."""
    names: Sequence[str] = list(dict.fromkeys(name for gpu in gpus for name in gpu.values))
    lines: list[str] = []
    for name in names:
        kind = "counter" if "TOTAL" in name or "VIOLATION" in name else "gauge"
        lines += [f"# HELP {name} What it is.", f"# TYPE {name} {kind}"]
        lines += [f"{name}{{{gpu.labels(name)}}} {gpu.values[name]}" for gpu in gpus if name in gpu.values]
    return "\n".join(lines) + "\n"

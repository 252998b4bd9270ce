"""What the driver's error numbers (Xids) mean, and whose fault each of them usually is.

Source: NVIDIA, "XID Errors" and its catalogue (docs.nvidia.com/deploy/xid-errors). A number alone proves nothing: an
application that reads where it may not and a broken memory can end in the same one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from comfysoak_core.codes import Code

FALLEN_OFF_THE_BUS: Final = 79


class Blame(StrEnum):
    """Whose fault it usually is."""

    APPLICATION = "application"
    DRIVER = "driver"
    HARDWARE = "hardware"
    NOBODY = "no fault of its own"  # it follows from another one, or only tells something


_XIDS: Final[dict[int, tuple[str, Blame]]] = {
    8: ("GPU stopped processing", Blame.APPLICATION),
    11: ("invalid or corrupted push buffer stream", Blame.APPLICATION),
    13: ("graphics engine exception", Blame.APPLICATION),
    16: ("display engine hung", Blame.DRIVER),
    24: ("GPU semaphore timeout", Blame.DRIVER),
    31: ("GPU memory page fault", Blame.APPLICATION),
    32: ("invalid or corrupted push buffer stream", Blame.DRIVER),
    37: ("driver firmware error", Blame.DRIVER),
    38: ("driver firmware error", Blame.DRIVER),
    43: ("GPU stopped processing", Blame.APPLICATION),
    44: ("graphics engine fault during context switch", Blame.DRIVER),
    45: ("preemptive cleanup, due to previous errors or a process that ended", Blame.NOBODY),
    46: ("GPU stopped processing", Blame.DRIVER),
    48: ("double-bit ECC error", Blame.HARDWARE),
    54: ("auxiliary power is not connected", Blame.HARDWARE),
    56: ("display engine error", Blame.HARDWARE),
    57: ("error programming video memory interface", Blame.HARDWARE),
    58: ("unstable video memory interface detected", Blame.HARDWARE),
    60: ("video processor exception", Blame.DRIVER),
    61: ("internal micro-controller breakpoint or warning", Blame.DRIVER),
    62: ("internal micro-controller halt", Blame.HARDWARE),
    63: ("ECC page retirement or row remapping recorded", Blame.HARDWARE),
    64: ("ECC page retirement or row remapping failed", Blame.HARDWARE),
    65: ("video processor exception", Blame.HARDWARE),
    66: ("illegal access by driver", Blame.DRIVER),
    67: ("illegal access by driver", Blame.DRIVER),
    68: ("NVDEC0 exception", Blame.APPLICATION),
    69: ("graphics engine class error", Blame.APPLICATION),
    70: ("copy engine 3 unknown error", Blame.DRIVER),
    71: ("copy engine 4 unknown error", Blame.DRIVER),
    72: ("copy engine 5 unknown error", Blame.DRIVER),
    73: ("NVENC2 error", Blame.HARDWARE),
    74: ("NVLink error", Blame.HARDWARE),
    FALLEN_OFF_THE_BUS: ("GPU has fallen off the bus", Blame.HARDWARE),
    80: ("corrupted data sent to GPU", Blame.HARDWARE),
    81: ("VGA subsystem error", Blame.HARDWARE),
    92: ("high single-bit ECC error rate", Blame.HARDWARE),
    93: ("InfoROM wear limit violated", Blame.DRIVER),
    94: ("contained ECC error", Blame.HARDWARE),
    95: ("uncontained ECC error", Blame.HARDWARE),
    109: ("context switch timeout", Blame.APPLICATION),
    110: ("security fault error", Blame.HARDWARE),
    119: ("GSP RPC timeout", Blame.DRIVER),
    120: ("GSP error", Blame.DRIVER),
    121: ("C2C link error", Blame.HARDWARE),
    122: ("SPI PMU RPC read failure", Blame.HARDWARE),
    123: ("SPI PMU RPC write failure", Blame.HARDWARE),
    124: ("SPI PMU RPC erase failure", Blame.HARDWARE),
    125: ("InfoROM failure", Blame.HARDWARE),
    136: ("link training failed", Blame.HARDWARE),
    137: ("NVLink fabric privilege error", Blame.APPLICATION),
    140: ("unrecovered ECC error", Blame.HARDWARE),
    143: ("GPU initialisation error", Blame.DRIVER),
    **dict.fromkeys(range(144, 151), ("NVLink error", Blame.HARDWARE)),
    151: ("key rotation error", Blame.DRIVER),
    154: ("GPU recovery action changed", Blame.NOBODY),
    155: ("NVLink software-defined error", Blame.HARDWARE),
    156: ("resource retirement recorded", Blame.HARDWARE),
    157: ("resource retirement failed", Blame.HARDWARE),
    158: ("GPU fatal timeout", Blame.HARDWARE),
    160: ("channel retirement recorded", Blame.HARDWARE),
    161: ("channel retirement failed", Blame.HARDWARE),
    167: ("PCIe fatal timeout", Blame.HARDWARE),
    169: ("internal micro-controller halt", Blame.DRIVER),
    171: ("uncorrectable error in DRAM, with Xid 48", Blame.HARDWARE),
    172: ("uncorrectable error in SRAM, with Xid 48", Blame.HARDWARE),
}


def xid_words(number: int) -> str:
    """`Xid 79: GPU has fallen off the bus (usually hardware)`; a number that is not in the table says so."""
    if number not in _XIDS:
        return f"Xid {number}: see NVIDIA's catalogue of Xids"
    words, blame = _XIDS[number]
    return f"Xid {number}: {words} ({blame if blame is Blame.NOBODY else f'usually {blame}'})"


def xid_code(number: int) -> Code | None:
    """The code of the finding that this Xid is by itself, if it is one."""
    return Code.GPU_LOST if number == FALLEN_OFF_THE_BUS else None

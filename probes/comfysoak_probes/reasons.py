"""Why a GPU's clocks are what they are: the driver's bits as names."""

from __future__ import annotations

EVENT_REASONS: tuple[tuple[int, str], ...] = (
    (0x1, "gpu_idle"),
    (0x2, "application_clocks"),
    (0x4, "software_power_cap"),
    (0x8, "hardware_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "software_thermal"),
    (0x40, "hardware_thermal"),
    (0x80, "power_brake"),
    (0x100, "display_clocks"),
)
_KNOWN = sum(bit for bit, _ in EVENT_REASONS)


def event_reasons(bits: int) -> str:
    """The names of the bits that are set, joined by commas; a bit without a name as `bit_0x200`."""
    names = [name for bit, name in EVENT_REASONS if bits & bit]
    unknown = bits & ~_KNOWN
    names += [f"bit_{1 << place:#x}" for place in range(unknown.bit_length()) if unknown >> place & 1]
    return ",".join(names)

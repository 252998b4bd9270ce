"""Shares of processor time between two readings of its counters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What a core's time is made of; `guest` is in `user` already, `interrupt` and `dpc` (Windows) in `system`.
PARTS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
AT_REST = ("idle", "iowait")

Times = Sequence[Any]  # named tuples of seconds since boot, one a core: psutil.cpu_times(percpu=True)


@dataclass(frozen=True, slots=True)
class CpuShares:
    """0 to 1, of all cores together and of each; None for a core whose clock stood still."""

    busy: float
    iowait: float | None
    steal: float | None
    cores: tuple[float | None, ...]

    @property
    def busiest(self) -> float:
        """The core with the least time to spare."""
        return max(core for core in self.cores if core is not None)

    def cores_in_words(self) -> str:
        """Of each core, in order, joined by commas; nothing between two of them where one is not known."""
        return ",".join("" if core is None else f"{core:.2f}" for core in self.cores)


def cpu_shares(before: Times, after: Times) -> CpuShares | None:
    """What the cores did between two readings; None when that cannot be told.

    It cannot when no time has passed, when cores came or went, or when all counters began anew. A counter that fell a
    little (the kernel corrects iowait) counts as one that stood.
    """
    if not after or len(before) != len(after):
        return None
    names = [name for name in PARTS if hasattr(after[0], name)]
    passed = [_passed(old, new, names) for old, new in zip(before, after, strict=True)]
    whole = {name: sum(core[name] for core in passed) for name in names}
    total = sum(whole.values())
    if total <= 0:
        return None
    return CpuShares(
        busy=_busy(whole, total),
        iowait=whole["iowait"] / total if "iowait" in whole else None,
        steal=whole["steal"] / total if "steal" in whole else None,
        cores=tuple(_busy(core, sum(core.values())) if any(core.values()) else None for core in passed),
    )


def _passed(old: Any, new: Any, names: Sequence[str]) -> dict[str, float]:  # named tuples of psutil
    return {name: max(0.0, getattr(new, name) - getattr(old, name)) for name in names}


def _busy(parts: dict[str, float], total: float) -> float:
    return 1 - sum(parts.get(name, 0.0) for name in AT_REST) / total

"""What there is to say about the machine this process runs on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from comfysoak_core.clock import Anchor
from comfysoak_core.recording.run_file import AnchorFacts, HostFacts

_CGROUP = Path("/sys/fs/cgroup")


def this_host(name: str | None = None, anchor: Anchor | None = None) -> HostFacts:
    """Facts of this machine; what cannot be read is None."""
    return HostFacts(
        name=name or platform.node() or "localhost",
        os=platform.platform(),
        cpu_count=os.cpu_count(),
        memory_bytes=_memory_bytes(),
        cpu_limit_ratio=_cpu_limit(),
        memory_limit_bytes=_memory_limit(),
        anchor=anchor and AnchorFacts(monotonic_ns=anchor.monotonic_ns, utc_ns=anchor.utc_ns, error_ns=anchor.error_ns),
    )


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return None


def _cpu_limit() -> float | None:
    quota = _first_words("cpu.max")  # "150000 100000", or "max 100000"
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        return int(quota[0]) / int(quota[1])
    old_quota, period = _first_words("cpu/cpu.cfs_quota_us"), _first_words("cpu/cpu.cfs_period_us")
    if old_quota and period and old_quota[0].isdigit() and period[0].isdigit():
        return int(old_quota[0]) / int(period[0])
    return None


def _memory_limit() -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        words = _first_words(name)
        if words and words[0].isdigit() and int(words[0]) < 1 << 60:  # version 1 says "no limit" by a huge number
            return int(words[0])
    return None


def _first_words(name: str) -> list[str]:
    """The words of the file of this process's cgroup, looked for where it is and then at the root."""
    for folder in (_own_cgroup(), _CGROUP):
        try:
            return (folder / name).read_text(encoding="ascii").split()
        except (OSError, ValueError):
            continue
    return []


def _own_cgroup() -> Path:
    try:
        last = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().splitlines()[-1]
    except (OSError, IndexError, ValueError):
        return _CGROUP
    return _CGROUP / last.split(":", 2)[-1].lstrip("/")

"""What a process's control groups used, and how often their limits struck."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfysoak_probes.containers.cgroup import Group, Groups, Limits, number, numbers, text
from comfysoak_probes.host.kernel import parse_pressure


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Counters since the group was made; None: this kernel does not tell."""

    seconds: float | None = None
    periods: int | None = None
    periods_throttled: int | None = None
    throttled_s: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory now, and counters since the group was made; None: this kernel does not tell."""

    used_bytes: int | None = None
    file_bytes: int | None = None
    peak_bytes: int | None = None
    swap_bytes: int | None = None
    pressure_ratio: float | None = None
    limit_hits: int | None = None
    oom_events: int | None = None
    oom_kills: int | None = None
    oom_kills_above: int | None = None  # in the group around it, which outlives a container


def read_cpu(groups: Groups) -> CpuUse:
    """Processor time and throttling."""
    if groups.cpu is None:
        return CpuUse(seconds=_seconds_of_1(groups.account))
    stat = numbers(groups.cpu.own / "cpu.stat")
    old = groups.cpu.version == 1
    seconds = _seconds_of_1(groups.account) if old else _scaled(stat.get("usage_usec"), 1e6)
    throttled_s = _scaled(stat.get("throttled_time"), 1e9) if old else _scaled(stat.get("throttled_usec"), 1e6)
    return CpuUse(seconds, stat.get("nr_periods"), stat.get("nr_throttled"), throttled_s)


def _seconds_of_1(account: Group | None) -> float | None:
    return None if account is None else _scaled(number(account.own / "cpuacct.usage"), 1e9)


def _scaled(count: int | None, unit: float) -> float | None:
    return None if count is None else count / unit


def read_memory(groups: Groups, limits: Limits) -> MemoryUse:
    """Use, and blows of the limit: counted at the group that has the limit, kills at the process's own."""
    if groups.memory is None:
        return MemoryUse()
    return _memory_of_2(groups.memory, limits) if groups.memory.version == 2 else _memory_of_1(groups.memory, limits)


def _memory_of_2(group: Group, limits: Limits) -> MemoryUse:
    events = numbers(group.own / "memory.events")
    blows = events if limits.memory_at in {None, group.own} else numbers(_at(limits, group) / "memory.events")
    return MemoryUse(
        used_bytes=number(group.own / "memory.current"),
        file_bytes=numbers(group.own / "memory.stat").get("file"),
        peak_bytes=number(group.own / "memory.peak"),
        swap_bytes=number(group.own / "memory.swap.current"),
        pressure_ratio=parse_pressure(text(group.own / "memory.pressure")).some,
        limit_hits=blows.get("max"),
        oom_events=blows.get("oom"),
        oom_kills=events.get("oom_kill"),
        oom_kills_above=numbers(group.above / "memory.events").get("oom_kill") if group.above else None,
    )


def _memory_of_1(group: Group, limits: Limits) -> MemoryUse:
    """Version 1 counts neither OOM events nor kills below a group; page cache stands in `memory.stat`."""
    used = number(group.own / "memory.usage_in_bytes")
    with_swap = number(group.own / "memory.memsw.usage_in_bytes")
    stat = numbers(group.own / "memory.stat")
    swap = stat.get("total_swap", stat.get("swap"))
    if swap is None and used is not None and with_swap is not None:
        swap = max(0, with_swap - used)
    return MemoryUse(
        used_bytes=used,
        file_bytes=stat.get("total_cache", stat.get("cache")),
        peak_bytes=number(group.own / "memory.max_usage_in_bytes"),
        swap_bytes=swap,
        limit_hits=number(_at(limits, group) / "memory.failcnt"),
        oom_kills=numbers(group.own / "memory.oom_control").get("oom_kill"),
    )


def _at(limits: Limits, group: Group) -> Path:
    return limits.memory_at or group.own


def oom_kills_of(group: Group) -> int | None:
    """How often the kernel killed in this very group; None when it is gone."""
    if group.version == 2:
        return numbers(group.own / "memory.events").get("oom_kill")
    return numbers(group.own / "memory.oom_control").get("oom_kill")


def identity_of(group: Group) -> int | None:
    """What tells a group from a later one of the same name; None when it is gone."""
    try:
        return group.own.stat().st_ino
    except OSError:
        return None

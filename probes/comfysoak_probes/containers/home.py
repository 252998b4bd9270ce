"""The place a server lives in on this host: its container or control group, as a row and in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from comfysoak_core.rows import Container
from comfysoak_probes.containers.cgroup import Groups, Limits, groups_of, limits_of
from comfysoak_probes.containers.engine import Inspected
from comfysoak_probes.containers.usage import CpuUse, MemoryUse, identity_of
from comfysoak_probes.server.server_process import ID_DIGITS, ServerProcess

GIB = 1024**3


@dataclass(slots=True)
class Home:
    """What is known of where a server lives now; `told` is the engine's word, `untold` why there is none."""

    process: ServerProcess
    groups: Groups
    limits: Limits
    memory_group: int | None  # tells its group of memory from a later one of the same name
    told: Inspected | None = None
    untold: str | None = None
    oom_kills: int | None = None
    oom_kills_above: int | None = None
    killed_ns: int | None = None  # when the kernel was last seen to have killed in it
    alive_s: float = 0.0  # when it was last seen alive, by the system's clock, which is the engine's

    @classmethod
    def of(cls, process: ServerProcess, root: Path, proc: Path) -> Home:
        """The groups and limits of a process as they are now."""
        groups = groups_of(process.pid, root, proc)
        return cls(process, groups, limits_of(groups), identity_of(groups.memory) if groups.memory else None)

    def look_again(self, root: Path, proc: Path) -> None:
        """Limits may have been changed, and the process may have been moved; once it has gone all stays as it was."""
        if not self.process.lives:
            return
        now = Home.of(self.process, root, proc)
        if now.memory_group != self.memory_group:
            self.oom_kills = self.oom_kills_above = None
        self.groups, self.limits, self.memory_group = now.groups, now.limits, now.memory_group

    @property
    def container(self) -> str | None:
        """Its id as engines show it."""
        return self.process.container and self.process.container[:ID_DIGITS]

    @property
    def is_bounded(self) -> bool:
        """Worth a row: a container, or limits without one."""
        return self.container is not None or self.limits.any

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.container is None:
            return f"the control group of process {self.process.pid}"
        known = [text for text in ((self.told.name, self.told.image) if self.told else ()) if text]
        return f"container {self.container}" + (f" ({', '.join(known)})" if known else "")

    @property
    def bounds(self) -> str:
        """Its limits, for people."""
        memory, cores = self.limits.memory_bytes, self.limits.cpu_cores
        said = [f"memory {gib(memory)}"] if memory is not None else []
        said += [f"{cores:g} cores"] if cores is not None else []
        return f"limits: {', '.join(said)}" if said else "no limits"

    def is_another_start_than(self, before: Home) -> bool:
        """Another container, or the same one started anew; not a process started anew in it."""
        if self.process.container != before.process.container:
            return True
        if self.told and before.told:
            return self.told.started != before.told.started
        return self.container is not None and self.memory_group != before.memory_group

    def row(self, *, at_ns: int, cost_ns: int, late_ns: int, host: str, server: str,
            cpu: CpuUse, memory: MemoryUse, processes: int | None) -> Container:  # fmt: skip
        """One reading."""
        row = Container(
            at_ns=at_ns,
            read_cost_ns=cost_ns,
            late_ns=late_ns,
            host=host,
            server=server,
            container=self.container,
            name=self.told.name if self.told else None,
            image=self.told.image if self.told else None,
            cpu_limit_cores=self.limits.cpu_cores,
            cpu_seconds=cpu.seconds,
            cpu_periods=cpu.periods,
            cpu_periods_throttled=cpu.periods_throttled,
            cpu_throttled_s=cpu.throttled_s,
            memory_limit_bytes=self.limits.memory_bytes,
            memory_used_bytes=memory.used_bytes,
            memory_file_bytes=memory.file_bytes,
            memory_peak_bytes=memory.peak_bytes,
            swap_used_bytes=memory.swap_bytes,
            memory_pressure_ratio=memory.pressure_ratio,
            limit_hits=memory.limit_hits,
            oom_events=memory.oom_events,
            oom_kills=memory.oom_kills,
            processes=processes,
            processes_limit=self.limits.processes,
        )
        return replace(row, missing=self._missing(row))

    def _missing(self, row: Container) -> str | None:
        said = []
        if self.untold is not None:
            said.append(f"name,image: {self.untold}")
        for group, limit, columns in (
            (self.groups.cpu, "cpu_limit_cores", CPU_COLUMNS),
            (self.groups.memory, "memory_limit_bytes", MEMORY_COLUMNS),
            (self.groups.processes, "processes_limit", ("processes",)),
        ):
            if group is None:
                said.append(f"{','.join((limit, *columns))}: no control group of its own can be seen from here")
                continue
            lacking = ",".join(name for name in columns if getattr(row, name) is None)
            if lacking:
                said.append(f"{lacking}: not told by control groups of version {group.version} here")
        return "; ".join(said) or None


CPU_COLUMNS = ("cpu_seconds", "cpu_periods", "cpu_periods_throttled", "cpu_throttled_s")
MEMORY_COLUMNS = (
    "memory_used_bytes", "memory_file_bytes", "memory_peak_bytes", "swap_used_bytes", "memory_pressure_ratio",
    "limit_hits", "oom_events", "oom_kills",
)  # fmt: skip


def gib(size: int) -> str:
    """`15.50 GiB`."""
    return f"{size / GIB:.2f} GiB"

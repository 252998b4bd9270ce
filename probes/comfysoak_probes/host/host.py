"""The host the sampler runs on: processors, memory, pressure, disk, network, open files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import psutil

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Host
from comfysoak_probes.host.cpu import CpuShares, cpu_shares
from comfysoak_probes.host.kernel import Kernel, Pressure, this_kernel
from comfysoak_probes.host.traffic import SYS, Totals, disk_counts, hardware, network_counts
from comfysoak_probes.source import Cadence, Tick

T = TypeVar("T")

RARELY_S = 10.0  # free space and the number of processes change slowly and cost more
NO_ANSWER_NS = 3 * round(RARELY_S * NS_PER_S)
KINDS = ("cpu", "memory", "io")
NETWORK_COLUMNS = "network_sent_bytes,network_received_bytes,network_errors,network_dropped"
CPU_COLUMNS = "cpu_ratio,busiest_core_ratio,core_ratios,iowait_ratio,steal_ratio"


class _Missing:
    """Values that may not be there on this system, and why."""

    def __init__(self) -> None:
        self._columns: dict[str, str] = {}  # by reason: many columns share one

    def get(self, columns: str, read: Callable[[], T | None]) -> T | None:
        try:
            value = read()
        except (OSError, psutil.Error, NotImplementedError, RuntimeError, ValueError, LookupError) as error:
            self.note(columns, f"{type(error).__name__}: {error}"[:200])
            return None
        if value is None:
            self.note(columns, "this system does not tell")
        return value

    def note(self, columns: str, reason: str) -> None:
        self._columns[reason] = f"{self._columns[reason]},{columns}" if reason in self._columns else columns

    def words(self) -> str | None:
        return "; ".join(f"{columns}: {reason}" for reason, columns in self._columns.items()) or None


class DiskSpace:
    """Free space of the disk the recording is on, asked apart from all else: a network disk may never answer."""

    name = "disk space"
    every_s = RARELY_S
    patience_s = 1.0

    def __init__(self, path: str, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._at_ns = clock.now_ns()
        self._free: int | None = None
        self._reason = "not read yet"

    def read(self, _: Tick) -> tuple[()]:
        """No row of its own: the host's row tells it."""
        try:
            self._free = psutil.disk_usage(self._path).free
        except OSError as error:
            self._free, self._reason = None, f"{type(error).__name__}: {error}"[:200]
        self._at_ns = self._clock.now_ns()
        return ()

    def close(self) -> None:
        """Nothing to let go of."""

    def free(self, missing: _Missing) -> int | None:
        """Bytes, at most 10 s old; None when the disk does not answer any more."""
        silent_ns = self._clock.now_ns() - self._at_ns
        if silent_ns > NO_ANSWER_NS:
            missing.note("disk_free_bytes", "the disk has not answered for more than 30 s")
            return None
        if self._free is None:
            missing.note("disk_free_bytes", self._reason)
        return self._free


class HostSource:
    """One row a reading about this host."""

    name = "host"
    patience_s = 1.0

    def __init__(
        self, *, every_s: float, host: str, clock: Clock, disk: DiskSpace, kernel: Kernel | None = None
    ) -> None:
        self.every_s = every_s
        self._host = host
        self._clock = clock
        self._disk = disk
        self._kernel = kernel or this_kernel()
        self._count_due = Cadence(RARELY_S)
        self._cpu_count = psutil.cpu_count()
        self._cpu_before: list[Any] = _cpu_times()
        self._disks = Totals(partial(hardware, folder=SYS / "block"))
        self._adapters = Totals(partial(hardware, folder=SYS / "class/net"))

    def read(self, tick: Tick) -> list[Host]:
        """CPU since the reading before, and everything else as it is now."""
        missing = _Missing()
        began_ns = self._clock.now_ns()
        cpu = self._cpu(missing)
        load = missing.get("load_1m", lambda: psutil.getloadavg()[0])
        memory = missing.get("memory_total_bytes,memory_available_bytes,swap_used_bytes", self._kernel.memory)
        disk = missing.get("disk_read_bytes,disk_written_bytes", lambda: self._disks.of(disk_counts()))
        network = missing.get(NETWORK_COLUMNS, lambda: self._adapters.of(network_counts()))
        of_cpu, of_memory, of_io = (self._pressure(kind, missing) for kind in KINDS)
        handles = missing.get("handles,handle_limit", self._kernel.handles)
        threads = missing.get("threads", self._kernel.threads)
        processes = self._processes(tick, missing)
        ended_ns = self._clock.now_ns()
        if memory and memory.swapped_in is None:
            missing.note("swapped_in_bytes,swapped_out_bytes", "this system does not tell")
        return [
            Host(
                at_ns=(began_ns + ended_ns) // 2,
                read_cost_ns=ended_ns - began_ns,
                late_ns=max(0, began_ns - tick.deadline_ns),
                host=self._host,
                cpu_ratio=cpu.busy if cpu else None,
                cpu_count=self._cpu_count,
                busiest_core_ratio=cpu.busiest if cpu else None,
                core_ratios=cpu.cores_in_words() if cpu else None,
                iowait_ratio=cpu.iowait if cpu else None,
                steal_ratio=cpu.steal if cpu else None,
                load_1m=load,
                memory_total_bytes=memory.total if memory else None,
                memory_available_bytes=memory.available if memory else None,
                swap_used_bytes=memory.swap_used if memory else None,
                swapped_in_bytes=memory.swapped_in if memory else None,
                swapped_out_bytes=memory.swapped_out if memory else None,
                cpu_pressure_ratio=of_cpu.some,
                memory_pressure_ratio=of_memory.some,
                io_pressure_ratio=of_io.some,
                memory_full_pressure_ratio=of_memory.full,
                io_full_pressure_ratio=of_io.full,
                disk_free_bytes=self._disk.free(missing),
                disk_read_bytes=disk[0] if disk else None,
                disk_written_bytes=disk[1] if disk else None,
                network_sent_bytes=network[0] if network else None,
                network_received_bytes=network[1] if network else None,
                network_errors=network[2] if network else None,
                network_dropped=network[3] if network else None,
                handles=handles[0] if handles else None,
                handle_limit=handles[1] if handles else None,
                processes=processes,
                threads=threads,
                missing=missing.words(),
            )
        ]

    def close(self) -> None:
        """Nothing to let go of."""

    def _cpu(self, missing: _Missing) -> CpuShares | None:
        now = missing.get(CPU_COLUMNS, _cpu_times)
        if now is None:
            return None
        shares, self._cpu_before = cpu_shares(self._cpu_before, now), now
        if shares is None:
            missing.note(CPU_COLUMNS, "no time has passed since the reading before, or cores came or went")
            return None
        if shares.iowait is None:
            missing.note("iowait_ratio,steal_ratio", "this system does not tell")
        return shares

    def _pressure(self, kind: str, missing: _Missing) -> Pressure:
        columns = f"{kind}_pressure_ratio" if kind == "cpu" else f"{kind}_pressure_ratio,{kind}_full_pressure_ratio"
        return missing.get(columns, partial(self._kernel.pressure, kind)) or Pressure(None, None)

    def _processes(self, tick: Tick, missing: _Missing) -> int | None:
        if self._count_due.due(tick.deadline_ns):
            return missing.get("processes", lambda: len(psutil.pids()))
        missing.note("processes", f"counted every {RARELY_S:.0f} s")
        return None


def _cpu_times() -> list[Any]:  # named tuples, of other fields on each system
    return list(psutil.cpu_times(percpu=True))

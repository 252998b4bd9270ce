"""The host the sampler runs on: processors, memory, pressure, disk and network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil

from comfysoak_core.clock import Clock
from comfysoak_core.rows import Host
from comfysoak_probes.source import Cadence, Tick

T = TypeVar("T")

PRESSURE = Path("/proc/pressure")
DISK_EVERY_S = 10.0  # free space changes slowly, and asking may hang on a network disk


def pressure_ratio(text: str) -> float | None:
    """The share of the last 10 s in which some task waited, from a file of /proc/pressure; None for other text."""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind != "some":
            continue
        for word in rest.split():
            name, _, value = word.partition("=")
            if name == "avg10":
                return _ratio(value)
    return None


def _ratio(text: str) -> float | None:
    try:
        return min(max(float(text) / 100, 0.0), 1.0)
    except ValueError:
        return None


class _Missing:
    """Values that may not be there on this system, and why."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def get(self, columns: str, read: Callable[[], T | None]) -> T | None:
        try:
            value = read()
        except (OSError, psutil.Error, NotImplementedError, RuntimeError, AttributeError) as error:
            self.reasons.append(f"{columns}: {type(error).__name__}: {error}"[:200])
            return None
        if value is None:
            self.reasons.append(f"{columns}: this system does not tell")
        return value


class HostSource:
    """One row a reading about this host."""

    name = "host"
    patience_s = 1.0

    def __init__(self, *, every_s: float, host: str, disk: str, clock: Clock, pressure: Path = PRESSURE) -> None:
        self.every_s = every_s
        self._host = host
        self._disk = disk
        self._clock = clock
        self._pressure = pressure
        self._disk_due = Cadence(DISK_EVERY_S)
        self._disk_free: int | None = None
        self._cpu_count = psutil.cpu_count()
        psutil.cpu_percent(None)  # the first call measures from here on

    def read(self, tick: Tick) -> list[Host]:
        """CPU since the reading before, and everything else as it is now."""
        missing = _Missing()
        began_ns = self._clock.now_ns()
        cpu = missing.get("cpu_ratio", lambda: psutil.cpu_percent(None) / 100)
        load = missing.get("load_1m", lambda: psutil.getloadavg()[0])
        memory = missing.get("memory_total_bytes,memory_available_bytes", psutil.virtual_memory)
        swap = missing.get("swap_used_bytes", psutil.swap_memory)
        disk = missing.get("disk_read_bytes,disk_written_bytes", psutil.disk_io_counters)
        network = missing.get("network_sent_bytes,network_received_bytes", psutil.net_io_counters)
        pressures = [missing.get(f"{kind}_pressure_ratio", partial(self._read_pressure, kind)) for kind in KINDS]
        if self._disk_due.due(tick.deadline_ns):
            self._disk_free = missing.get("disk_free_bytes", lambda: psutil.disk_usage(self._disk).free)
        ended_ns = self._clock.now_ns()
        return [
            Host(
                at_ns=(began_ns + ended_ns) // 2,
                read_cost_ns=ended_ns - began_ns,
                late_ns=max(0, began_ns - tick.deadline_ns),
                host=self._host,
                cpu_ratio=cpu,
                cpu_count=self._cpu_count,
                load_1m=load,
                memory_total_bytes=memory.total if memory else None,
                memory_available_bytes=memory.available if memory else None,
                swap_used_bytes=swap.used if swap else None,
                cpu_pressure_ratio=pressures[0],
                memory_pressure_ratio=pressures[1],
                io_pressure_ratio=pressures[2],
                disk_free_bytes=self._disk_free,
                disk_read_bytes=disk.read_bytes if disk else None,
                disk_written_bytes=disk.write_bytes if disk else None,
                network_sent_bytes=network.bytes_sent if network else None,
                network_received_bytes=network.bytes_recv if network else None,
                missing="; ".join(missing.reasons) or None,
            )
        ]

    def close(self) -> None:
        """Nothing to let go of."""

    def _read_pressure(self, kind: str) -> float | None:
        return pressure_ratio((self._pressure / kind).read_text(encoding="ascii"))


KINDS = ("cpu", "memory", "io")

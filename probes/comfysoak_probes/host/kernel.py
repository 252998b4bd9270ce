"""What the kernel tells of the whole host beyond psutil: files of /proc on Linux, what psutil knows elsewhere.

Files are kept open and read again from their start: 2 µs instead of 12 each, once a second for days.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

PROC = Path("/proc")
FILE_BYTES = 1 << 16
NO_LIMIT = 2**63 - 1  # what the kernel says where there is none


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; the last two since boot."""

    total: int | None
    available: int | None
    swap_used: int | None
    swapped_in: int | None
    swapped_out: int | None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Shares of the last 10 s in which some task waited, and in which none got on."""

    some: float | None
    full: float | None


class Kernel(Protocol):
    """Each call raises OSError, NotImplementedError or psutil.Error where this system does not tell."""

    def memory(self) -> Memory:
        """Of the machine."""

    def pressure(self, kind: str) -> Pressure:
        """Of `cpu`, `memory` or `io`."""

    def handles(self) -> tuple[int, int | None]:
        """Open files of all processes, and how many there may be; None: no limit."""

    def threads(self) -> int:
        """Of all processes."""


class LinuxKernel:
    """Files of /proc."""

    def __init__(self, root: Path = PROC) -> None:
        self._meminfo = KeptFile(root / "meminfo")
        self._vmstat = KeptFile(root / "vmstat")
        self._loadavg = KeptFile(root / "loadavg")
        self._file_nr = KeptFile(root / "sys/fs/file-nr")
        self._pressures = {kind: KeptFile(root / "pressure" / kind) for kind in ("cpu", "memory", "io")}

    def memory(self) -> Memory:
        """From meminfo and vmstat; the latter counts pages, which are not 4 KiB everywhere."""
        sizes, counts = _numbers(self._meminfo.read()), _numbers(self._vmstat.read())
        total, free = sizes.get(b"SwapTotal"), sizes.get(b"SwapFree")
        return Memory(
            total=_times(sizes.get(b"MemTotal"), 1024),
            available=_times(sizes.get(b"MemAvailable"), 1024),
            swap_used=None if total is None or free is None else max(0, total - free) * 1024,
            swapped_in=_times(counts.get(b"pswpin"), mmap.PAGESIZE),
            swapped_out=_times(counts.get(b"pswpout"), mmap.PAGESIZE),
        )

    def pressure(self, kind: str) -> Pressure:
        """Refused by kernels that were started without it."""
        return parse_pressure(self._pressures[kind].read().decode("ascii", "replace"))

    def handles(self) -> tuple[int, int | None]:
        """Allocated, less those that wait to be used again."""
        allocated, unused, most = (int(word) for word in self._file_nr.read().split()[:3])
        return allocated - unused, most if most < NO_LIMIT else None

    def threads(self) -> int:
        """All that can be scheduled."""
        return int(self._loadavg.read().split()[3].partition(b"/")[2])


class OtherKernel:
    """Windows, macOS, BSD."""

    def memory(self) -> Memory:
        """Windows tells nothing of pages swapped."""
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        told = not psutil.WINDOWS
        return Memory(
            memory.total, memory.available, swap.used, swap.sin if told else None, swap.sout if told else None
        )

    def pressure(self, kind: str) -> Pressure:
        """Linux alone has it."""
        raise NotImplementedError(f"only Linux tells the pressure on {kind}")

    def handles(self) -> tuple[int, int | None]:
        """Linux alone has it."""
        raise NotImplementedError("only Linux tells the open files of all processes")

    def threads(self) -> int:
        """It would take a look at every process."""
        raise NotImplementedError("only Linux tells the threads of all processes")


class KeptFile:
    """A file that is opened once and read from its start each time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def read(self) -> bytes:
        """Its first 64 KiB; raises OSError."""
        if self._handle is None:
            self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(self._handle, FILE_BYTES, 0)
        except OSError:  # what stands behind it was mounted anew: files of /proc in a container are lxcfs's
            self.__del__()
            raise

    def __del__(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def parse_pressure(text: str) -> Pressure:
    """A file of /proc/pressure (or of a cgroup); None for what it does not tell."""
    found: dict[str, float | None] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        values = dict(word.partition("=")[::2] for word in rest.split())
        found[kind] = _ratio(values.get("avg10", ""))
    return Pressure(found.get("some"), found.get("full"))


def this_kernel() -> Kernel:
    """The one this process runs on."""
    return LinuxKernel() if psutil.LINUX else OtherKernel()


def _ratio(percent: str) -> float | None:
    try:
        return min(max(float(percent) / 100, 0.0), 1.0)
    except ValueError:
        return None


def _numbers(text: bytes) -> dict[bytes, int]:
    """`name number` or `name: number kB` lines."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].rstrip(b":") in WANTED:
            found[words[0].rstrip(b":")] = int(words[1])
    return found


WANTED = frozenset({b"MemTotal", b"MemAvailable", b"SwapTotal", b"SwapFree", b"pswpin", b"pswpout"})


def _times(number: int | None, unit: int) -> int | None:
    return None if number is None else number * unit

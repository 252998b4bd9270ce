"""Traffic of disks and network adapters: each byte counted once, and never a total that falls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

Counts = tuple[int, ...]

SYS = Path("/sys")
LOOPBACK = ("lo", "lo0")


def hardware(names: Iterable[str], folder: Path) -> frozenset[str]:
    """Those of `names` that are devices, not made of others (bridges, bonds, veth pairs, LVM, RAID, loop devices).

    What such a one carries, a device carries as well. Where none is a device (in a container, or not on Linux) it is
    all of them but the loopback.
    """
    known = [name for name in names if name not in LOOPBACK and not name.startswith("Loopback")]
    return frozenset(name for name in known if (folder / name / "device").exists()) or frozenset(known)


class Totals:
    """The sum over the chosen devices, since it was first asked from what they had counted until then.

    A device whose counter fell has wrapped or begun anew: it counts from zero again. One that appears later adds what
    it counts from there on; one that goes away takes nothing with it.
    """

    def __init__(self, choose: Callable[[Iterable[str]], frozenset[str]]) -> None:
        self._choose = choose
        self._names: frozenset[str] = frozenset()
        self._chosen: frozenset[str] = frozenset()
        self._before: dict[str, Counts] = {}
        self._total: Counts | None = None

    def of(self, counts: Mapping[str, Counts]) -> Counts | None:
        """The totals after this reading; None when there is no device."""
        if counts.keys() != self._names:
            self._names, self._chosen = frozenset(counts), self._choose(counts)
        now = {name: counts[name] for name in self._chosen}
        if not now:
            return self._total
        if self._total is None:
            added = list(now.values())
            self._total = tuple(0 for _ in added[0])
        else:
            added = [_since(self._before[name], count) for name, count in now.items() if name in self._before]
        self._total = tuple(sum(column) for column in zip(self._total, *added, strict=True))
        self._before = now
        return self._total


def _since(before: Counts, now: Counts) -> Counts:
    return tuple(new - old if new >= old else new for old, new in zip(before, now, strict=True))


def disk_counts() -> dict[str, Counts]:
    """Read and written bytes of each disk."""
    found = psutil.disk_io_counters(perdisk=True, nowrap=False)
    return {name: (count.read_bytes, count.write_bytes) for name, count in (found or {}).items()}


def network_counts() -> dict[str, Counts]:
    """Sent and received bytes, errors and dropped packets of each adapter."""
    found = psutil.net_io_counters(pernic=True, nowrap=False)
    return {
        name: (count.bytes_sent, count.bytes_recv, count.errin + count.errout, count.dropin + count.dropout)
        for name, count in found.items()
    }

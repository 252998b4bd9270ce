"""Which process has an id on this host, what it descends from, and whether it is a server's or the harness's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

INITIAL_NAMESPACE: Final = 0xEFFFFFFC  # inode of the PID namespace the system was booted in (PROC_PID_INIT_INO)
KNOWN_MOST: Final = 1000


@dataclass(slots=True)
class Known:
    """A process of this host, and those it descends from."""

    process: psutil.Process
    name: str
    ancestors: frozenset[int]


def sees_host_ids() -> bool:
    """Whether process ids of this process are those of the system, which the driver tells."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino == INITIAL_NAMESPACE
    except OSError:  # no Linux
        return True


@dataclass(slots=True)
class ProcessNames:
    """Names by process id, and the ids of the servers on this host as far as they are known."""

    servers: frozenset[int] | None = None  # with all they started; None: not looked for, not found, or not on this host
    own: frozenset[int] = frozenset()  # processes of this harness: never foreign
    host_ids: bool = field(default_factory=sees_host_ids)
    _known: dict[int, Known] = field(default_factory=dict)

    def name(self, pid: int) -> str | None:
        """The name of a process; None when there is none of this id in our namespace."""
        known = self.find(pid)
        return None if known is None else known.name

    def is_server(self, pid: int) -> bool | None:
        """Whether it is one of the servers or descends from one; None when that cannot be told."""
        known = self.find(pid)
        return None if known is None else self.serves(known)

    def serves(self, known: Known) -> bool | None:
        """As `is_server`, of a process that was found."""
        if not self.servers:
            return None
        return known.process.pid in self.servers or not known.ancestors.isdisjoint(self.servers)

    def find(self, pid: int) -> Known | None:
        """The process that has this id now; None when there is none in our namespace."""
        known = self._known.get(pid)
        if known is not None and known.process.is_running():  # False also when the id is another process's by now
            return known
        self._known.pop(pid, None)
        if len(self._known) >= KNOWN_MOST:
            self._known.clear()
        found = _known(pid)
        if found is not None:
            self._known[pid] = found
        return found


def _known(pid: int) -> Known | None:
    try:
        process = psutil.Process(pid)
        name = process.name()[:100]
    except psutil.AccessDenied:
        return Known(process, "?", frozenset())
    except (psutil.Error, ValueError, OverflowError):  # no id of a process at all
        return None
    try:
        ancestors = frozenset(parent.pid for parent in process.parents())
    except psutil.Error:
        ancestors = frozenset()
    return Known(process, name, ancestors)

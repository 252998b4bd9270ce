"""Which processes belong together: what a server started, and the harness itself."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil

from comfysoak_probes.processes.reading import parent_of

# Words of a command line, and the role they show; the first that fits.
ROLES: tuple[tuple[str, str], ...] = (
    ("comfysoak_simulator", "simulator"),
    ("comfysoak_core.recording.recorder", "recorder"),
    ("comfysoak_probes", "sampler"),
    ("locust", "load"),
)
PROGRAM = frozenset({"comfysoak", "comfysoak.exe"})
SUPERVISOR = "supervisor"


def role_of(command: Sequence[str]) -> str | None:
    """What a process does in a run, by its command line; None for one that is not ours."""
    words = [word.replace("\\", "/") for word in command[:12]]
    for mark, role in ROLES:
        if any(word == mark or word.endswith(f"/{mark}") or word.startswith(f"{mark}.") for word in words):
            return role
    return SUPERVISOR if any(word.rpartition("/")[2] in PROGRAM for word in words[:3]) else None


class Parents:
    """Who started whom. A process keeps its parent, so each is asked once: a new look costs what is new."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def look(self) -> None:
        """Learn of processes that came and forget those that went."""
        if not psutil.LINUX:
            return
        known = self._parents
        for pid in known.keys() - (now := set(psutil.pids())):
            del known[pid]
        for pid in now - known.keys():
            parent = parent_of(pid)
            if parent is not None:
                known[pid] = parent

    def forget(self, pid: int) -> None:
        """It is another process than it was: ask again."""
        self._parents.pop(pid, None)

    def below(self, root: int) -> list[int]:
        """All that `root` started, and what they started, as of the last look."""
        if not psutil.LINUX:
            try:
                return [process.pid for process in psutil.Process(root).children(recursive=True)]
            except psutil.Error:
                return []
        children: dict[int, list[int]] = {}
        for pid, parent in self._parents.items():
            children.setdefault(parent, []).append(pid)
        found, todo = [], [root]
        while todo:
            fresh = children.pop(todo.pop(), [])
            found += fresh
            todo += fresh
        return found


def family(parents: Parents) -> list[tuple[int, str]]:
    """The processes of this run and their roles: ourselves, whoever started us, and what else it started.

    A shell or a service manager that started us is no part of a run, and neither is what else it started.
    """
    own, parent = os.getpid(), os.getppid()
    root = own if _role(parent) is None else parent
    found = ((pid, _role(pid)) for pid in (root, *parents.below(root)) if pid != own)
    return [(own, "sampler"), *((pid, role) for pid, role in found if role is not None and role != "sampler")]


def _role(pid: int) -> str | None:
    try:
        return role_of(psutil.Process(pid).cmdline())
    except psutil.Error:
        return None

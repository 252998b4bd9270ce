"""Control groups, version 2, version 1, and both at once: the groups of a process and the limits it lives under.

Read from files below `/sys/fs/cgroup`. A limit may stand at any group above the process's own; the lowest counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from comfysoak_probes.host.kernel import PROC
from comfysoak_probes.server.server_process import cgroups_of

ROOT = Path("/sys/fs/cgroup")
NO_LIMIT = 1 << 60  # version 1 says "no limit" by a number near 2**63
FILE_BYTES = 64 * 1024
LEVELS_MOST = 32


@dataclass(frozen=True, slots=True)
class Group:
    """The folder of one controller for one process, and the folders above it, its own first."""

    folders: tuple[Path, ...]
    version: int

    @property
    def own(self) -> Path:
        """The folder of the group the process is in."""
        return self.folders[0]

    @property
    def above(self) -> Path | None:
        """The folder of the group around it, which outlives it; None at the root."""
        return self.folders[1] if len(self.folders) > 1 else None

    def lowest(self, name: str) -> tuple[int, Path] | None:
        """The lowest number that a file of this name holds here or above, and where; None: no limit."""
        found = [(limit, folder) for folder in self.folders if (limit := number(folder / name)) is not None]
        return min((pair for pair in found if pair[0] < NO_LIMIT), key=lambda pair: pair[0], default=None)


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one process; None: the controller is not there, or its files are not visible from here."""

    cpu: Group | None = None
    account: Group | None = None  # version 1 counts processor time apart
    memory: Group | None = None
    processes: Group | None = None
    outside: bool = False  # the process is in groups beyond what is shown to us, or may not be looked at

    @property
    def hidden(self) -> bool:
        """Nothing can be read."""
        return not (self.cpu or self.memory or self.processes)


@dataclass(frozen=True, slots=True)
class Limits:
    """The lowest limits, here or above; None: no limit."""

    cpu_cores: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    memory_at: Path | None = None  # the group whose limit of memory that is: there it strikes

    @property
    def any(self) -> bool:
        """One that binds. That of processes alone does not count: systemd sets it for every session."""
        return self.cpu_cores is not None or self.memory_bytes is not None


def groups_of(pid: int, root: Path = ROOT, proc: Path = PROC) -> Groups:
    """The groups of a process, wherever each controller is mounted.

    The root of a whole machine is nobody's own group: what is counted there is everybody's.
    """
    paths = dict(_controllers(cgroups_of(pid, proc)))
    ours = dict(_controllers(cgroups_of("self", proc)))
    cpu, account, memory, processes = (_group(name, paths, ours, root) for name in ("cpu", "cpuacct", "memory", "pids"))
    return Groups(cpu, account, memory, processes, outside=not paths or any(_is_outside(p) for p in paths.values()))


def _controllers(text: str) -> Iterator[tuple[str, str]]:
    """Controller and path; "" is version 2's."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            yield name, path


def _group(name: str, paths: dict[str, str], ours: dict[str, str], root: Path) -> Group | None:
    version = 1 if name in paths else 2
    key = name if version == 1 else ""
    path = paths.get(key)
    if path is None or _is_outside(path):
        return None
    whole = root if (root / "cgroup.controllers").is_file() else root / "unified"
    mount = root / name if version == 1 else whole
    folder = mount / path.lstrip("/")
    if not folder.is_dir() and ours.get(key) == path:
        folder = mount  # a container may be shown its own group as the root of all
    if not folder.is_dir() or (folder == mount and _is_machine(folder, version)):
        return None
    around = [folder, *folder.parents]
    return Group(tuple(around[: around.index(mount) + 1][:LEVELS_MOST]), version)


def _is_outside(path: str) -> bool:
    return ".." in PurePosixPath(path).parts


def _is_machine(folder: Path, version: int) -> bool:
    """Whether this is the root of the whole machine, and not that of a container which is shown as a root."""
    if version == 1:
        return (folder / "release_agent").exists()
    return not (folder / "cgroup.events").exists()


def limits_of(groups: Groups) -> Limits:
    """The limits as they are now."""
    quotas = [cores for folder in (groups.cpu.folders if groups.cpu else ()) if (cores := _cores(folder)) is not None]
    memory = groups.memory
    lowest = memory.lowest("memory.max" if memory.version == 2 else "memory.limit_in_bytes") if memory else None
    processes = groups.processes.lowest("pids.max") if groups.processes else None
    return Limits(
        cpu_cores=min(quotas, default=None),
        memory_bytes=lowest[0] if lowest else None,
        processes=processes[0] if processes else None,
        memory_at=lowest[1] if lowest else None,
    )


def _cores(folder: Path) -> float | None:
    words = text(folder / "cpu.max").split()
    if not words:
        words = [text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
        return int(words[0]) / int(words[1])
    return None  # "max", or -1


def text(path: Path) -> str:
    """A file of a cgroup; "" where it is not there, or no longer."""
    try:
        with path.open("rb", buffering=0) as file:
            return (file.read(FILE_BYTES) or b"").decode("ascii", "replace")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The number a file holds; None for `max`, and where there is no such file."""
    word = text(path).strip()
    return int(word) if word.isdecimal() and len(word) < 20 else None


def numbers(path: Path) -> dict[str, int]:
    """The numbers of a file of `name number` lines; empty where there is no such file."""
    found: dict[str, int] = {}
    for line in text(path).splitlines():
        name, _, word = line.partition(" ")
        if word.isdecimal() and len(word) < 20:
            found[name] = int(word)
    return found

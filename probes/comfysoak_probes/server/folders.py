"""The size of a server's output and temp folder, counted file by file, rarely and within bounds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from comfysoak_core.clock import Clock
from comfysoak_core.rows import Folder
from comfysoak_probes.host.kernel import PROC
from comfysoak_probes.server.folder_paths import paths_of, seen_from
from comfysoak_probes.server.server_process import Finder, Nowhere, ServerProcess
from comfysoak_probes.source import Backoff, Tick, doubled_s

EVERY_S = 60.0
RARELY_S = 600.0  # where the folders cannot be reached
MOST_RARELY_S = 3600.0
SHARE = 0.004  # of the time may be spent on counting: large folders are counted more rarely
COUNT_S = 2.0  # for one folder
ENTRIES_MOST = 1_000_000
LOOK_AT_CLOCK = 256  # entries between two looks at the clock


@dataclass(frozen=True, slots=True)
class Size:
    """What is in a folder; lower bounds where counting was cut short."""

    bytes: int
    files: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Reached:
    """A folder of the server, as it is reached from here."""

    kind: str
    path: Path
    shown: str  # as the server calls it


class FolderSource:
    """A row a minute for each of a server's two folders; for those out of reach, a row with the reason now and then.

    `proc` is where processes are: a server in a container is reached through `/proc/PID/root`.
    """

    patience_s = 2 * COUNT_S + 2

    def __init__(
        self,
        server: str,
        *,
        host: str,
        clock: Clock,
        finder: Finder | None = None,
        proc: Path = PROC,
        now_s: Callable[[], float] = time.monotonic,
        entries_most: int = ENTRIES_MOST,
    ) -> None:
        self.name = f"folders of {server}"
        self.every_s = EVERY_S
        self._server = server
        self._host = host
        self._clock = clock
        self._finder = finder or Finder(server, proc=proc)
        self._unreached = Backoff(EVERY_S, RARELY_S)
        self._proc = proc
        self._now_s = now_s
        self._entries_most = entries_most

    def read(self, tick: Tick) -> list[Folder]:
        """Both folders."""
        began_s = self._now_s()
        folders = self._reach()
        if isinstance(folders, Nowhere):
            self.every_s = RARELY_S if folders.elsewhere else self._unreached.next_s()
            at_ns = self._clock.now_ns()
            return [self._out_of_reach(kind, tick, at_ns, folders.reason) for kind in ("output", "temp")]
        self._unreached.reset()
        rows = [self._row(folder, tick) for folder in folders]
        self.every_s = doubled_s(EVERY_S, min((self._now_s() - began_s) / SHARE, MOST_RARELY_S))
        return rows

    def close(self) -> None:
        """Nothing to let go of."""

    def _reach(self) -> list[Reached] | Nowhere:
        found = self._finder.find()
        if isinstance(found, Nowhere):
            return found
        try:
            process = psutil.Process(found.pid)
            paths = paths_of(process.cmdline(), _working_folder(process))
        except psutil.Error as error:
            return Nowhere(f"the command line of process {found.pid} cannot be read: {type(error).__name__}")
        if paths is None:
            return Nowhere("its command line names neither its folders nor main.py")
        if not (Path(paths.output).is_absolute() and Path(paths.temp).is_absolute()):
            return Nowhere(f"process {found.pid} names folders by its working folder, which cannot be read")
        try:
            root = self._root_of(found)
            named = (("output", paths.output), ("temp", paths.temp))
            return [Reached(kind, seen_from(root, path) if root else Path(path), path) for kind, path in named]
        except OSError as error:
            return Nowhere(f"the files of process {found.pid} cannot be reached: {error.strerror or error}")

    def _root_of(self, process: ServerProcess) -> Path | None:
        """The root of the server's files; None: ours. Raises OSError when a container's may not be entered."""
        root = self._proc / str(process.pid) / "root"
        try:
            root.readlink()  # refused for processes of other users
        except OSError:
            if process.container is None:
                return None
            raise
        return root

    def _row(self, folder: Reached, tick: Tick) -> Folder:
        began_ns = self._clock.now_ns()
        missing = None
        size: Size | None = None
        free: int | None = None
        try:
            size = size_of(folder.path, until_s=self._now_s() + COUNT_S, now_s=self._now_s, most=self._entries_most)
            free = psutil.disk_usage(str(folder.path)).free
        except OSError as error:
            columns = "disk_free_bytes" if size else "bytes,files,whole,disk_free_bytes"
            missing = f"{columns}: {folder.shown}: {error.strerror or type(error).__name__}"[:300]
        return Folder(
            at_ns=began_ns,
            read_cost_ns=self._clock.now_ns() - began_ns,
            late_ns=tick.late_ns,
            host=self._host,
            server=self._server,
            kind=folder.kind,
            bytes=size.bytes if size else None,
            files=size.files if size else None,
            whole=size.whole if size else None,
            disk_free_bytes=free,
            missing=missing,
        )

    def _out_of_reach(self, kind: str, tick: Tick, at_ns: int, reason: str) -> Folder:
        return Folder(
            at_ns=at_ns,
            read_cost_ns=0,
            late_ns=tick.late_ns,
            host=self._host,
            server=self._server,
            kind=kind,
            missing=f"all: {reason}"[:300],
        )


def _working_folder(process: psutil.Process) -> str:
    """Where it works; empty where that of another user's process may not be read."""
    try:
        return process.cwd()
    except psutil.AccessDenied:
        return ""


def size_of(folder: Path, *, until_s: float, now_s: Callable[[], float] = time.monotonic, most: int) -> Size:
    """The files in a folder and below, without following links; what vanishes meanwhile is left out.

    Bytes are lengths of files. Raises OSError when the folder itself cannot be read.
    """
    total = files = entries = 0
    waiting = [str(folder)]
    first = True
    while waiting:
        try:
            listing = os.scandir(waiting.pop())
        except OSError:
            if first:
                raise
            continue
        first = False
        with listing:
            for entry in listing:
                entries += 1
                if entries >= most or (entries % LOOK_AT_CLOCK == 0 and now_s() >= until_s):
                    return Size(total, files, whole=False)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif not entry.is_symlink():
                        total += entry.stat(follow_symlinks=False).st_size
                        files += 1
                except OSError:
                    continue  # deleted since it was listed
    return Size(total, files, whole=True)

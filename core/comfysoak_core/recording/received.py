"""The journal of another machine, as it comes in: pieces of stretches, put on disk where they belong."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.transfer import Inbox, Taken

LEFT_FREE_BYTES = 256 * 1024 * 1024  # the run's own rows need room too
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Received:
    """Writes what comes from the machine called `host` into the folder `journal`, and nothing anywhere else."""

    def __init__(self, journal: Path, host: str, *, left_free_bytes: int = LEFT_FREE_BYTES) -> None:
        self._journal = journal
        self._inbox = Inbox(host)
        self._disk = Disk()
        self._left_free_bytes = left_free_bytes
        self._growing: dict[str, str] = {}  # by owner: the stretch that may still grow

    def take(self, name: str, offset: int, data: bytes, crc: int) -> Taken | None:
        """Put a piece on disk; what to answer, None when it is none of this machine's journal.

        Damaged pieces are asked for again. Raises OSError when the disk refuses: nothing of the piece counts then.
        """
        taken = self._inbox.take(name, offset, len(data))
        if taken is None or taken.at is None:
            return taken
        if zlib.crc32(data) != crc:
            return Taken(taken.at, again=True)
        self._settle_before(name)
        self._write(self._journal / name, taken.at, data[taken.skip :])
        self._inbox.written(name, taken.had)
        return taken

    def sync(self) -> None:
        """Make all that came safe against a loss of power."""
        for name in self._growing.values():
            self._sync(name)

    def _settle_before(self, name: str) -> None:
        """With the next stretch the one before is complete: the machine deletes it when it hears that."""
        owner = name.rpartition("~")[0]
        before = self._growing.get(owner)
        if before is not None and before != name:
            self._sync(before)
        self._growing[owner] = name

    def _sync(self, name: str) -> None:
        if (self._journal / name).exists():  # else it is in the tables
            self._disk.sync(self._journal / name)

    def _write(self, path: Path, at: int, data: bytes) -> None:
        if shutil.disk_usage(self._journal).free < self._left_free_bytes:
            raise OSError(f"less than {self._left_free_bytes >> 20} MiB are left on the disk")
        fd = os.open(path, _FLAGS, 0o644)
        try:
            os.ftruncate(fd, at)  # half of a piece the disk took before
            os.lseek(fd, at, os.SEEK_SET)
            if os.write(fd, data) < len(data):
                raise OSError("the disk took half of a piece")
        finally:
            os.close(fd)

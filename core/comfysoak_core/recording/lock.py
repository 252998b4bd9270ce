"""Locks on files that the kernel lets go of when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Self

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int, *, shared: bool) -> bool:  # noqa: ARG001  # Windows has no shared kind here
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(fd: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_RETRY_S = 0.01


class FileLock:
    """An exclusive lock on a file of its own; also a context manager that lets go at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self, wait_s: float = 1.0) -> bool:
        """Take the lock, trying for `wait_s`: whoever only asks `is_held` has it for an instant too.

        Raises OSError where the file cannot be made or the file system knows no locks.
        """
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        give_up = time.monotonic() + wait_s
        try:
            while not _try_lock(fd, shared=False):
                if time.monotonic() >= give_up:
                    os.close(fd)
                    return False
                time.sleep(_RETRY_S)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def release(self) -> None:
        """Let go; does nothing when not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def mark_as_written(fd: int) -> None:
    """Say that the file behind `fd` has a living writer, until it is closed; silent where that cannot be said.

    A lock of Windows would keep readers out: there a writer is known by `run.lock` and `recorder.lock` alone.
    """
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            _try_lock(fd, shared=True)


def is_held(path: Path) -> bool:
    """Whether a living process holds a lock on the file; False when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        return not _try_lock(fd, shared=False)
    except OSError:
        return False
    finally:
        os.close(fd)

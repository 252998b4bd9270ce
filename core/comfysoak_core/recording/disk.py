"""What a recording does to the file system beside appending to its journal: each kind of step, one method.

All of them are steps after which a process may be killed without harm to the recording; the tests do exactly
that, by a subclass that ends the process at the n-th step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path


class Disk:
    """The steps. Raises OSError as the system does."""

    def step(self, what: str, path: Path) -> None:
        """Called before each step, with its name and its file."""

    def sync(self, path: Path) -> None:
        """Make what was written to the file safe against a loss of power."""
        self.step("sync", path)
        fd = os.open(path, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target`, in one step that happens or does not."""
        self.step("rename", target)
        source.replace(target)
        _sync_directory(target.parent)

    def replace(self, path: Path, data: bytes) -> None:
        """The file has its old content or all of `data`, at any moment."""
        self.make_directory(path.parent)
        self.write_by(path, lambda temporary: temporary.write_bytes(data))

    def write_by(self, path: Path, write: Callable[[Path], object]) -> None:
        """As `replace`, with a function that writes the content to a path it is given."""
        temporary = path.with_name(f".{path.name}.new")
        try:
            self.step("write", temporary)
            write(temporary)
            self.sync(temporary)
            self.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def append(self, path: Path, data: bytes) -> None:
        """Add `data` at the end of the file, making it when missing."""
        self.step("append", path)
        with path.open("ab") as file:
            file.write(data)

    def truncate(self, path: Path, length: int) -> None:
        """Cut the file to `length` bytes when it is longer."""
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > length:
                self.step("truncate", path)
                os.truncate(path, length)

    def remove(self, path: Path) -> None:
        """Delete the file; one that is gone already is as good."""
        self.step("remove", path)
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        """Make the folder and those above it when missing."""
        if not path.is_dir():
            self.step("make directory", path)
            path.mkdir(parents=True, exist_ok=True)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

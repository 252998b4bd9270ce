"""Reading a journal while it is written: each poll tells the rows that came since the one before."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.stretch import Stretch, header_columns, rows_of

POLL_BYTES = 8 * 1024 * 1024


class NewRows(NamedTuple):
    """Rows of one table: `rows[i][j]` is column `columns[j]`."""

    table: str
    columns: tuple[str, ...]
    rows: list[list[Any]]


@dataclass(slots=True)
class _Followed:
    """How far one stretch is read; `columns` is empty until its header was."""

    stretch: Stretch
    offset: int = 0
    columns: tuple[str, ...] = ()
    damaged: bool = False


class Tail:
    """Follows all stretches of a journal directory, over rotations; a stretch that is deleted is forgotten.

    A poll costs a directory listing and one `stat` a file when nothing came. `tables` restricts what is read;
    `offsets` (stretch file name -> bytes) goes on where another Tail stopped.
    """

    def __init__(
        self, directory: Path, *, tables: Collection[str] | None = None, offsets: Mapping[str, int] | None = None
    ) -> None:
        self._directory = directory
        self._tables = tables
        self._start = dict(offsets or {})
        self._followed: dict[str, _Followed] = {}
        self._ignored: set[str] = set()
        self.is_behind = False  # the last poll stopped at its bound: there was more to read when it began

    @property
    def offsets(self) -> dict[str, int]:
        """How far each stretch that still exists has been read, in bytes."""
        return {name: followed.offset for name, followed in self._followed.items()}

    def poll(self, max_bytes: int = POLL_BYTES) -> list[NewRows]:
        """The rows since the last poll, in the order of each file; at most about `max_bytes` of journal.

        An empty list: nothing new yet. Half-written lines wait for their end; damaged lines and files are left out.
        """
        found: list[NewRows] = []
        left = max_bytes
        for followed, size in self._grown():
            left -= self._read(followed, min(size - followed.offset, left), found)
            if left <= 0:
                break
        self.is_behind = left <= 0
        return found

    def _grown(self) -> list[tuple[_Followed, int]]:
        """The stretches with bytes not yet read, in order, and their sizes."""
        grown: list[tuple[_Followed, int]] = []
        seen: set[str] = set()
        ignored: set[str] = set()
        try:
            entries = os.scandir(self._directory)
        except OSError:
            return []
        with entries:
            for entry in entries:
                followed = self._follow(entry.name)
                if followed is None:
                    ignored.add(entry.name)
                if followed is None or not entry.is_file():
                    continue
                seen.add(entry.name)
                try:
                    size = entry.stat().st_size
                except OSError:
                    continue
                if size > followed.offset and not followed.damaged:
                    grown.append((followed, size))
        self._ignored = ignored  # those that still exist: names come and go for days
        for name in self._followed.keys() - seen:
            del self._followed[name]
        return sorted(grown, key=lambda pair: pair[0].stretch)

    def _follow(self, name: str) -> _Followed | None:
        followed = self._followed.get(name)
        if followed is not None or name in self._ignored:
            return followed
        stretch = Stretch.from_path(self._directory / name)
        if stretch is None or (self._tables is not None and stretch.table not in self._tables):
            self._ignored.add(name)
            return None
        followed = self._followed[name] = _Followed(stretch, self._start.pop(name, 0))
        return followed

    def _read(self, followed: _Followed, length: int, found: list[NewRows]) -> int:
        """Read up to `length` bytes (more when one line is longer); tells how many were taken."""
        try:
            fd = os.open(followed.stretch.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        except OSError:
            return 0
        try:
            if not followed.columns and not self._read_header(fd, followed):
                return 0
            data = _whole_lines(fd, followed.offset, length)
        finally:
            os.close(fd)
        followed.offset += len(data)
        for line in data.split(b"\n"):
            rows = rows_of(line, len(followed.columns))
            if rows:
                found.append(NewRows(followed.stretch.table, followed.columns, rows))
        return len(data)

    @staticmethod
    def _read_header(fd: int, followed: _Followed) -> bool:
        with os.fdopen(os.dup(fd), "rb") as file:
            file.seek(0)
            first = file.readline()
        if not first.endswith(b"\n"):
            return False
        try:
            followed.columns = header_columns(first, followed.stretch.path)
        except RecordingError:
            followed.damaged = True
            return False
        followed.offset = max(followed.offset, len(first))
        return True


def _whole_lines(fd: int, offset: int, length: int) -> bytes:
    """The lines that begin at `offset` and end within `length` bytes, or one line if it is longer than that."""
    length = max(length, 1)
    os.lseek(fd, offset, os.SEEK_SET)
    data = b""
    while True:
        chunk = os.read(fd, length)
        data += chunk
        end = data.rfind(b"\n") + 1
        if end or not chunk:
            return data[:end]

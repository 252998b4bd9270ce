"""The journal: rows on disk the moment they are known, by the process that knows them.

One file per host, process and table. The first line names format, table, host, process and columns; each further
line is one batch: a JSON list of rows, each a list in column order. Appended without buffering, at most a second
or `BATCH_ROWS` rows apart; whoever is killed loses what it had not flushed and nothing else. Files are rotated,
so that the recorder can turn the closed ones into Parquet and forget them.

A file is called `HOST~PROCESS~TABLE~SEQUENCE.jsonl`. The one with the highest sequence is still written to as
long as its process lives.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.errors import RecordingError
from comfysoak_core.rows import TABLES, Row

FORMAT = 1
BATCH_ROWS = 500
ROTATE_BYTES = 64 * 1024 * 1024
ROTATE_NS = 300 * NS_PER_S
HELD_ROWS = 200_000  # kept in memory while the disk refuses them; older ones are dropped and counted

_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


def columns(row_type: type[Row]) -> tuple[str, ...]:
    """The column names of a row type, in order."""
    return tuple(field.name for field in fields(row_type))


def safe_name(text: str) -> str:
    """`text` with all but letters, digits, dots and hyphens replaced, for use in a file name."""
    return _UNSAFE.sub("-", text) or "unnamed"


class Journal:
    """Appends rows of any table; one per process. Not thread-safe: one owner adds and flushes."""

    def __init__(self, directory: Path, *, host: str, process: str, clock: Clock) -> None:
        self._directory = directory
        self._host = safe_name(host)
        self._process = f"{safe_name(process)}-{os.getpid()}"
        self._clock = clock
        self._tables: dict[str, _TableFile] = {}
        self.errors = 0  # writes the disk refused
        self.rows_dropped = 0  # rows given up because it went on refusing

    def add(self, row: Row) -> None:
        """Take a row; it is on disk after the next `flush`, or now if its batch is full."""
        table = self._tables.get(row.TABLE)
        if table is None:
            table = self._tables[row.TABLE] = _TableFile(self, type(row))
        table.rows.append(table.values(row))
        if len(table.rows) >= BATCH_ROWS:
            table.flush()

    def add_now(self, row: Row) -> None:
        """Take a row and put it on disk before returning: for what must not be forgotten."""
        self.add(row)
        self._tables[row.TABLE].flush()

    def flush(self) -> None:
        """Put all rows on disk; call it at least every second."""
        for table in self._tables.values():
            table.flush()

    def close(self) -> None:
        """Flush and close all files; a row added later opens them again."""
        for table in self._tables.values():
            table.flush()
            table.close()
        self._tables.clear()


class _TableFile:
    """One table of one process: the rows not yet written and the file they go to."""

    def __init__(self, journal: Journal, row_type: type[Row]) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self._journal = journal
        self._row_type = row_type
        self.values = attrgetter(*columns(row_type))
        self._fd = -1
        self._bytes = 0
        self._opened_ns = 0
        self._torn = False
        self._sequence = self._first_free_sequence()

    def flush(self) -> None:
        if not self.rows:
            return
        line = orjson.dumps(self.rows) + b"\n"
        try:
            self._rotate_if_due()
            if self._fd < 0:
                self._open()
            if self._torn:  # a line the disk took half of: end it, the reader skips it
                line = b"\n" + line
            written = os.write(self._fd, line)
        except OSError:
            self._refused()
            return
        if written < len(line):
            self._torn = True
            self._refused()
            return
        self._torn = False
        self._bytes += written
        self.rows.clear()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _refused(self) -> None:
        """The rows stay for the next flush, up to a bound."""
        self._journal.errors += 1
        surplus = len(self.rows) - HELD_ROWS
        if surplus > 0:
            del self.rows[:surplus]
            self._journal.rows_dropped += surplus

    def _rotate_if_due(self) -> None:
        if self._fd < 0:
            return
        age_ns = self._journal._clock.now_ns() - self._opened_ns  # noqa: SLF001  # one class in two halves
        if self._bytes >= ROTATE_BYTES or age_ns >= ROTATE_NS:
            self.close()
            self._sequence += 1

    def _open(self) -> None:
        path = self._path(self._sequence)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._opened_ns = self._journal._clock.now_ns()  # noqa: SLF001
        self._torn = False
        header = {
            "format": FORMAT,
            "table": self._row_type.TABLE,
            "host": self._journal._host,  # noqa: SLF001
            "process": self._journal._process,  # noqa: SLF001
            "columns": columns(self._row_type),
        }
        self._bytes = os.write(self._fd, orjson.dumps(header) + b"\n")

    def _path(self, sequence: int) -> Path:
        journal = self._journal
        name = f"{journal._host}~{journal._process}~{self._row_type.TABLE}~{sequence:06d}.jsonl"  # noqa: SLF001
        return journal._directory / name  # noqa: SLF001

    def _first_free_sequence(self) -> int:
        sequence = 0
        while self._path(sequence).exists():  # the pid of an earlier process came round again
            sequence += 1
        return sequence


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """One journal file, by what its name says."""

    host: str
    process: str
    table: str
    sequence: int
    path: Path

    @classmethod
    def from_path(cls, path: Path) -> Stretch | None:
        """The stretch a file name stands for; None for a file that is no journal of a known table."""
        parts = path.name.removesuffix(".jsonl").split("~")
        if path.suffix != ".jsonl" or len(parts) != 4 or parts[2] not in TABLES or not parts[3].isdigit():
            return None
        return cls(parts[0], parts[1], parts[2], int(parts[3]), path)


def stretches(directory: Path) -> list[Stretch]:
    """All journal files of a directory, in order of host, process, table and sequence."""
    if not directory.is_dir():
        return []
    found = (Stretch.from_path(path) for path in directory.iterdir())
    return sorted(stretch for stretch in found if stretch is not None)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one line of a journal: `rows[i][j]` is column `columns[j]`; `offset` is where the line ends."""

    columns: tuple[str, ...]
    rows: list[list[Any]]
    offset: int


def read_batches(path: Path, offset: int = 0) -> Iterator[Batch]:
    """The batches of a journal file that end after byte `offset`; damaged lines are left out.

    A last line without its newline is still being written, or was cut off: it is not a batch yet. Raises
    RecordingError when the first line is not that of a journal this version reads.
    """
    with path.open("rb") as file:
        first = file.readline()
        if not first.endswith(b"\n"):
            return
        names = _header_columns(first, path)
        position = len(first)
        if offset > position:
            file.seek(offset)
            position = offset
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            rows = _rows_of(line, len(names))
            if rows:
                yield Batch(names, rows, position)


def _header_columns(line: bytes, path: Path) -> tuple[str, ...]:
    try:
        header = orjson.loads(line)
        version, names = int(header["format"]), tuple(str(name) for name in header["columns"])
    except (orjson.JSONDecodeError, TypeError, KeyError, ValueError) as error:
        raise RecordingError(
            f"{path} does not begin with the header of a journal",
            "The file is damaged; move it away to read the rest of the recording.",
        ) from error
    if version > FORMAT:
        raise RecordingError(
            f"{path} has journal format {version}, this version reads up to {FORMAT}",
            "Read this recording with the version of ComfySoak that made it, or a newer one.",
        )
    return names


def _rows_of(line: bytes, width: int) -> list[list[Any]]:
    try:
        rows = orjson.loads(line)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, list) and len(row) == width]

"""The journal: rows on disk the moment they are known, by the process that knows them.

One file per host, process and table. The first line names format, table, host, process and columns; each further
line is one batch: a JSON list of rows, each a list in column order. Appended without buffering, at most a second
or `BATCH_ROWS` rows apart; whoever is killed loses what it had not flushed and nothing else. Files are rotated,
so that the recorder can turn the closed ones into Parquet and forget them.

A file is called `HOST~PROCESS~TABLE~SEQUENCE.jsonl`. The one with the highest sequence is still written to as
long as its process lives, and is locked (shared flock) for that long. It gets its name when its first line is
complete and locked, so nobody ever sees a nameless or ownerless one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.recording.encoding import RowEncoder
from comfysoak_core.recording.lock import mark_as_written
from comfysoak_core.recording.stretch import FORMAT, Batch, Stretch, read_batches, stretches
from comfysoak_core.rows import Row

__all__ = ["FORMAT", "Batch", "Journal", "Stretch", "columns", "read_batches", "safe_name", "stretches"]

BATCH_ROWS = 500
ROTATE_BYTES = 8 * 1024 * 1024
ROTATE_NS = 300 * NS_PER_S
HELD_ROWS = 200_000  # kept in memory while the disk refuses them; older ones are dropped and counted

_RENAMES_OPEN_FILES = os.name != "nt"
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_OPEN_FLAGS |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # each on one system only


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
        # A pid comes round again in a long run; the stretches of a new process must not bear the names of old ones.
        self._process = f"{safe_name(process)}-{os.getpid()}-{os.urandom(3).hex()}"
        self._clock = clock
        self._tables: dict[str, _TableFile] = {}
        self.encoder = RowEncoder()
        self.errors = 0  # writes the disk refused
        self.rows_dropped = 0  # rows given up because it went on refusing

    def add(self, row: Row) -> None:
        """Take a row; it is on disk after the next `flush`, or now if its batch is full."""
        table = self._tables.get(row.TABLE)
        if table is None:
            table = self._tables[row.TABLE] = _TableFile(self, type(row))
        table.rows.append(table.values(row))
        if len(table.rows) >= BATCH_ROWS:
            table.batch_is_full()

    def add_now(self, row: Row) -> None:
        """Take a row and put it on disk before returning: for what must not be forgotten."""
        self.add(row)
        self._tables[row.TABLE].flush()

    def flush(self) -> None:
        """Put all rows on disk; call it at least every second."""
        for table in self._tables.values():
            table.flush()

    def close(self) -> None:
        """Flush and close all files; a row added later begins new ones."""
        for table in self._tables.values():
            table.flush()
            table.close()


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
        self._refusing = False
        self._sequence = 0

    def batch_is_full(self) -> None:
        """Write, unless the disk refused the last time: then only `flush` tries again, and nothing is encoded here."""
        if not self._refusing:
            self.flush()
        elif len(self.rows) > HELD_ROWS:
            self._drop(len(self.rows) - HELD_ROWS * 9 // 10)

    def flush(self) -> None:
        """Write all rows, a batch a line, until the disk refuses one."""
        while self.rows:
            batch = self.rows[:BATCH_ROWS]
            self._refusing = not self._write(batch)
            if self._refusing:
                self._journal.errors += 1
                return
            del self.rows[: len(batch)]

    def _write(self, batch: list[tuple[Any, ...]]) -> bool:
        """Append one line; False when the disk refused it and the rows are not there."""
        line = self._journal.encoder.encode(batch) + b"\n"
        try:
            self._rotate_if_due()
            if self._fd < 0:
                self._open()
            if self._torn:  # a line the disk took half of: end it, the reader skips it
                line = b"\n" + line
            written = os.write(self._fd, line)
        except OSError:
            return False
        self._bytes += written
        self._torn = written < len(line)
        return written >= len(line) - 1  # where only the end of the line is missing, the rows are there

    def close(self) -> None:
        """Close the file; the next one has the next number, also when this one is consumed and gone by then."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._sequence += 1

    def _drop(self, count: int) -> None:
        del self.rows[:count]
        self._journal.rows_dropped += count

    def _rotate_if_due(self) -> None:
        if self._fd < 0:
            return
        age_ns = self._journal._clock.now_ns() - self._opened_ns  # noqa: SLF001  # one class in two halves
        if self._bytes >= ROTATE_BYTES or age_ns >= ROTATE_NS:
            self.close()

    def _open(self) -> None:
        """Begin the next stretch under a name no reader knows; give it its own once it is locked and has its header.

        Windows renames no open file: there a reader may meet half a header, and waits for the rest of it.
        """
        path = self._path()
        hidden = path.with_name(f".{path.name}.new") if _RENAMES_OPEN_FILES else path
        fd = os.open(hidden, _OPEN_FLAGS, 0o644)
        try:
            mark_as_written(fd)
            header = self._header()
            if os.write(fd, header) < len(header):
                raise OSError("the disk took half of a header")
            if hidden != path:
                os.rename(hidden, path)  # noqa: PTH104  # in the same folder, and the pathlib form costs more
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(hidden)  # noqa: PTH108  # as above
            raise
        self._fd, self._bytes, self._torn = fd, len(header), False
        self._opened_ns = self._journal._clock.now_ns()  # noqa: SLF001  # one class in two halves

    def _header(self) -> bytes:
        header: dict[str, int | str | Sequence[str]] = {
            "format": FORMAT,
            "table": self._row_type.TABLE,
            "host": self._journal._host,  # noqa: SLF001  # one class in two halves
            "process": self._journal._process,  # noqa: SLF001
            "columns": columns(self._row_type),
        }
        return orjson.dumps(header) + b"\n"

    def _path(self) -> Path:
        journal = self._journal
        name = f"{journal._host}~{journal._process}~{self._row_type.TABLE}~{self._sequence:06d}.jsonl"  # noqa: SLF001
        return journal._directory / name  # noqa: SLF001

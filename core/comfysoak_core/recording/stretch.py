"""Reading the journal: its files, called stretches, and the batches of rows in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from comfysoak_core.errors import RecordingError
from comfysoak_core.rows import TABLES

FORMAT = 1


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
    found = (Stretch.from_path(path) for path in directory.iterdir() if path.is_file())
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
        names = header_columns(first, path)
        position = len(first)
        if offset > position:
            file.seek(offset)
            position = offset
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            rows = rows_of(line, len(names))
            if rows:
                yield Batch(names, rows, position)


def header_columns(line: bytes, path: Path) -> tuple[str, ...]:
    """The column names in the first line of a stretch. Raises RecordingError when it is damaged or newer."""
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


def rows_of(line: bytes, width: int) -> list[list[Any]]:
    """The rows of `width` values in one line of a stretch; none when it is damaged."""
    try:
        rows = orjson.loads(line)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(rows, list):
        return []
    return [row for row in rows if isinstance(row, list) and len(row) == width]

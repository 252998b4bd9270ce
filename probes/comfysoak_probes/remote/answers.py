"""What a probe on another machine answers, as rows: nothing in it is trusted to have a shape, a type or a length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import orjson

from comfysoak_core.rows import (
    ClockReading,
    Container,
    Event,
    Folder,
    Gpu,
    GpuHealth,
    GpuProcess,
    GpuSlow,
    Host,
    Process,
    Row,
    Server,
    ServerLog,
)

FORMAT = 1
ROW_TYPES: dict[str, type[Row]] = {
    row_type.TABLE: row_type
    for row_type in (Gpu, GpuSlow, GpuHealth, GpuProcess, Host, Process, Container, Folder, Server, ServerLog, Event,
                     ClockReading)
}  # fmt: skip  # of what a probe says; prompts and sessions it has none
TEXT_CHARACTERS = 4_000
NUMBER_MOST = 1 << 63
IDENTITY_CHARACTERS = 64


class NotAProbeError(ValueError):
    """What answers is no probe that can be understood; the message says what it looks like."""


@dataclass(frozen=True, slots=True)
class Head:
    """The first line of an answer: whose rows these are, and which numbers there are."""

    ring: str
    host: str
    version: str
    clock_ns: int
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """Rows of one table in columns of ours, numbered from `first` to `last`; `bad` is how many were left out."""

    first: int
    last: int
    rows: tuple[Row, ...]
    bad: int = 0
    unknown_table: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """One answer to GET /rows; batches up to the first line that is none."""

    head: Head
    batches: tuple[RemoteBatch, ...]


def parse_answer(body: bytes, after: int) -> RemoteAnswer:
    """The rows with a number above `after`. Raises NotAProbeError when it is no such answer."""
    first, *lines = body.split(b"\n")
    head = _object(first)
    found = Head(
        _text(head, "ring")[:IDENTITY_CHARACTERS], _text(head, "host")[:255], _text(head, "version")[:64],
        _whole(head, "clock_ns"), _whole(head, "first"), _whole(head, "next"),
    )  # fmt: skip
    columns = head.get("columns")
    return RemoteAnswer(found, tuple(_batches(lines, columns if isinstance(columns, dict) else {}, after)))


def _object(line: bytes) -> dict[str, Any]:
    try:
        head = orjson.loads(line)
    except orjson.JSONDecodeError:
        head = None
    if not isinstance(head, dict) or "ring" not in head:
        raise NotAProbeError(f"expected the rows of a comfysoak probe, got {line[:60]!r}")
    if head.get("format") != FORMAT:
        raise NotAProbeError(
            f"it speaks format {str(head.get('format'))[:20]} and this version {FORMAT}: use the same version on both"
        )
    return head


def _text(head: dict[str, Any], name: str) -> str:
    value = head.get(name)
    if not isinstance(value, str) or not value:
        raise NotAProbeError(f"expected a text as {name}, got {str(value)[:40]!r}")
    return value


def _whole(head: dict[str, Any], name: str) -> int:
    value = head.get(name)
    if type(value) is not int or not 0 <= value < NUMBER_MOST:
        raise NotAProbeError(f"expected a whole number as {name}, got {str(value)[:40]!r}")
    return value


def _batches(lines: Sequence[bytes], columns: dict[str, Any], after: int) -> Iterator[RemoteBatch]:
    readers: dict[str, RowReader | None] = {}
    for line in lines:
        try:
            table, first, rows = orjson.loads(line)
        except (orjson.JSONDecodeError, ValueError, TypeError):
            return  # cut off: what follows is asked for again
        if not isinstance(table, str) or type(first) is not int or not isinstance(rows, list) or not rows:
            return
        if table not in readers:
            readers[table] = RowReader.of(table, columns.get(table))
        reader, last = readers[table], first + len(rows) - 1
        new = rows[max(after + 1 - first, 0) :]
        if not new or last >= NUMBER_MOST:
            continue
        after = last
        if reader is None:
            yield RemoteBatch(first, last, (), unknown_table=table[:40])
        else:
            found = tuple(row for row in map(reader.read, new) if row is not None)
            yield RemoteBatch(first, last, found, bad=len(new) - len(found))


class RowReader:
    """Reads the rows of one table: columns by name, those we do not know left out, those it does not know None."""

    def __init__(self, row_type: type[Row], columns: Sequence[str]) -> None:
        self._row_type = row_type
        self._width = len(columns)
        place = {name: index for index, name in enumerate(columns)}
        self._fields = tuple((name, place[name], check) for name, check in _checks(row_type) if name in place)

    @classmethod
    def of(cls, table: str, columns: object) -> RowReader | None:
        """A reader for these columns; None when we have no such table, or they lack what no row can do without."""
        row_type = ROW_TYPES.get(table)
        if row_type is None or not isinstance(columns, list):
            return None
        names = [name if isinstance(name, str) else "" for name in columns]
        needed = {field.name for field in fields(row_type) if field.default is MISSING}
        return cls(row_type, names) if needed <= set(names) else None

    def read(self, values: object) -> Row | None:
        """One row; None when a value is not of its column's type."""
        if not isinstance(values, list) or len(values) != self._width:
            return None
        found = {}
        for name, index, check in self._fields:
            value = values[index]
            if not check(value):
                return None
            found[name] = value
        return self._row_type(**found)


def _checks(row_type: type[Row]) -> Iterator[tuple[str, Callable[[object], bool]]]:
    for field in fields(row_type):
        yield field.name, _CHECKS[str(field.type)]


def _is_int(value: object) -> bool:
    return type(value) is int and -NUMBER_MOST <= value < NUMBER_MOST


def _is_float(value: object) -> bool:
    return type(value) in {float, int}


def _is_str(value: object) -> bool:
    return type(value) is str and len(value) <= TEXT_CHARACTERS


def _is_bool(value: object) -> bool:
    return type(value) is bool


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    def found(value: object) -> bool:
        return value is None or check(value)

    return found


_PLAIN = {"int": _is_int, "float": _is_float, "str": _is_str, "bool": _is_bool}
_CHECKS = _PLAIN | {f"{name} | None": _or_none(check) for name, check in _PLAIN.items()}

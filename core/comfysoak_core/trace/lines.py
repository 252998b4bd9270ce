"""What a trace says, line by line: JSON lines or CSV with time, workflow and inputs, told apart by their beginning.

    {"time": 0.0, "workflow": "sdxl", "inputs": {"3.seed": 7}}          time,workflow,inputs
    {"time": 2.5, "workflow": "flux"}                                   2026-11-22T10:15:00Z,sdxl,"{""3.seed"": 7}"

No I/O: lines of bytes in, prompts and problems out. Whatever the bytes are, each line gives one of the two.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import orjson

from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.errors import Problem
from comfysoak_core.trace.moments import Moments
from comfysoak_core.value import value

MAX_LINE_BYTES: Final = 1024 * 1024
KEYS: Final = ("time", "workflow", "inputs", "client")  # `client` says who it was, and is not replayed
_EXAMPLE: Final = 'A line looks like {"time": 12.5, "workflow": "sdxl"}; as CSV the first line is time,workflow.'


@value()
class TraceLine:
    """One prompt of a trace. `time_s` counts from wherever the file does; `number` is its line, from 1."""

    number: int
    time_s: float
    workflow: str | None
    inputs: Mapping[str, Any] | None
    size_bytes: int


class _BadLineError(ValueError):
    """Why a line is no prompt."""


def lines_of_trace(lines: Iterable[bytes], name: str) -> Iterator[TraceLine | Problem]:
    """The prompts in the lines of a file called `name`; a Problem, with its line, for each that is none."""
    numbered = enumerate(lines, 1)
    first = next(((number, line) for number, line in numbered if line.strip(b"\xef\xbb\xbf \t\r\n")), None)
    if first is None:
        yield Problem("the trace is empty", _EXAMPLE, name)
        return
    every = itertools.chain([(first[0], first[1].removeprefix(b"\xef\xbb\xbf"))], numbered)
    if first[1].lstrip(b"\xef\xbb\xbf \t")[:1] in (b"{", b"["):
        yield from _json_lines(every, name)
    else:
        yield from _csv_lines(every, name)


def _json_lines(numbered: Iterable[tuple[int, bytes]], name: str) -> Iterator[TraceLine | Problem]:
    moments = Moments()
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            yield _prompt(_object(line), moments, number, len(line))
        except _BadLineError as error:
            yield Problem(str(error), _EXAMPLE, f"{name}:{number}")


def _object(line: bytes) -> Mapping[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise _BadLineError(f"the line is longer than {MAX_LINE_BYTES // 1024**2} MiB")
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _BadLineError(f"expected a line of JSON, got {excerpt(line, 60)!r} ({error.msg})") from None
    if not isinstance(found, dict):
        raise _BadLineError(f"expected an object, one a line, got {excerpt(line, 60)!r}")
    return found


def _prompt(found: Mapping[str, Any], moments: Moments, number: int, size_bytes: int) -> TraceLine:
    unknown = [key for key in found if key not in KEYS]
    if unknown:
        raise _BadLineError(f"unknown key {excerpt(unknown[0], 60)!r}; known are {', '.join(KEYS)}")
    if found.get("time") is None:
        raise _BadLineError("the line has no time")
    workflow, inputs = found.get("workflow"), found.get("inputs")
    if not (workflow is None or isinstance(workflow, str)):
        raise _BadLineError(f"expected the name of a workflow, got {excerpt(str(workflow), 60)!r}")
    if not (inputs is None or isinstance(inputs, dict)):
        raise _BadLineError(f'expected inputs such as {{"3.seed": 7}}, got {excerpt(str(inputs), 60)!r}')
    try:
        time_s = moments.seconds(found["time"])
    except ValueError as error:
        raise _BadLineError(str(error)) from None
    return TraceLine(number, time_s, workflow or None, inputs or None, size_bytes)


def _csv_lines(numbered: Iterable[tuple[int, bytes]], name: str) -> Iterator[TraceLine | Problem]:
    texts = _Texts(numbered)
    rows = csv.reader(texts, strict=True)
    moments = Moments()
    header: list[str] | None = None
    while True:
        began = texts.number + 1
        try:
            row = next(rows, None)
            if row is None:
                return
            if header is None:
                header = _header(row)
            elif row:
                yield _prompt(_cells(header, row), moments, began, sum(map(len, row)))
        except (csv.Error, UnicodeDecodeError) as error:  # after these nobody knows where the next row begins
            yield Problem(f"expected a trace, as JSON lines or CSV in UTF-8: {error}", _EXAMPLE, f"{name}:{began}")
            return
        except _BadLineError as error:
            yield Problem(str(error), _EXAMPLE, f"{name}:{began}")
            if header is None:
                return


class _Texts:
    """Lines as text for a reader of CSV; `number` is that of the line given last."""

    def __init__(self, numbered: Iterable[tuple[int, bytes]]) -> None:
        self._numbered = iter(numbered)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._numbered)
        if len(line) > MAX_LINE_BYTES:
            raise csv.Error(f"the line is longer than {MAX_LINE_BYTES // 1024**2} MiB")
        return line.decode()


def _header(row: list[str]) -> list[str]:
    header = [cell.strip().lower() for cell in row]
    if "time" not in header:
        raise _BadLineError(f"expected a first line such as time,workflow,inputs; got {excerpt(','.join(row), 60)!r}")
    if len(set(header)) < len(header):
        raise _BadLineError(f"a column stands twice in {excerpt(','.join(row), 60)!r}")
    unknown = [cell for cell in header if cell not in KEYS]
    if unknown:
        raise _BadLineError(f"unknown column {excerpt(unknown[0], 60)!r}; known are {', '.join(KEYS)}")
    return header


def _cells(header: list[str], row: list[str]) -> Mapping[str, Any]:
    if len(row) != len(header):
        raise _BadLineError(f"expected {len(header)} cells ({', '.join(header)}), got {len(row)}")
    cells: dict[str, Any] = {name: cell.strip() or None for name, cell in zip(header, row, strict=True)}
    if cells.get("inputs") is not None:
        cells["inputs"] = _object(str(cells["inputs"]).encode("utf-8", "replace"))
    return cells


class Readable(Protocol):
    """A file of bytes, as far as it is read here."""

    def readline(self, size: int, /) -> bytes:
        """The next line, or its first `size` bytes; empty at the end."""


def bounded_lines(stream: Readable) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only so much as shows that it is."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES + 1)

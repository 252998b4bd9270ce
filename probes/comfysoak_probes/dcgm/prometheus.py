"""Prometheus text, as exporters write it: strict enough to refuse a web page, forgiving about single lines.

A library would do: `prometheus_client` parses it at 20 µs a line and brings a metrics registry along; here a
series is recognised by its bytes, so that a scrape at 10 Hz costs a dictionary look-up a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final, Generic, TypeVar

LINE_BYTES = 16 * 1024
KNOWN_BYTES = 8 * 1024 * 1024
SERIES_MOST = 20_000

Known = TypeVar("Known")


class NotPrometheusError(ValueError):
    """The text is something else; the message says what it looks like."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series: its name and its labels."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scrape(Generic[Known]):
    """One scrape: the value of each series that was recognised, and how many lines could not be read."""

    samples: list[tuple[Known, float]]
    bad_lines: int


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_SAMPLE = re.compile(r"^([^\s{]+(?:\s*\{.*\})?)\s+(\S+)(?:\s+-?\d+)?\s*$")
_ESCAPE = re.compile(r"\\(.)")
_UNSEEN: Final = object()


class Parser(Generic[Known]):
    """Parses scrape after scrape of one exporter and remembers its series.

    `recognise` makes of a series what its reader wants to have beside the value, once for each series; None: the
    series is left out. Lines that do not begin with `prefix` are left out unread.
    """

    def __init__(self, recognise: Callable[[Series], Known | None], prefix: str = "") -> None:
        self._recognise = recognise
        self._prefix = prefix.encode()
        self._known: dict[bytes, Known | None] = {}
        self._known_bytes = 0

    def parse(self, body: bytes) -> Scrape[Known]:
        """The samples in `body`. Raises NotPrometheusError when it is no such text at all.

        A last line without its end is cut off, and is left out.
        """
        _refuse_others(body)
        samples: list[tuple[Known, float]] = []
        read = bad = 0
        for line in BytesIO(body):
            if line[:1] == b"#" or line.isspace() or line[-1:] != b"\n":
                continue
            if read and not line.startswith(self._prefix):
                continue  # the first is read all the same: a page of prose has no line with the prefix
            try:
                known, value = self._sample(line)
            except ValueError:
                bad += 1
                continue
            read += 1
            if known is not None:
                samples.append((known, value))
        if bad and not read:
            raise NotPrometheusError(f"none of {bad} lines is a sample; the first bytes are {body[:60]!r}")
        return Scrape(samples, bad)

    def _sample(self, line: bytes) -> tuple[Known | None, float]:
        head, _, value = line.rpartition(b" ")
        known = self._known.get(head, _UNSEEN)
        if known is _UNSEEN:
            return self._new(line)
        return known, float(value)  # type: ignore[return-value]  # not the sentinel

    def _new(self, line: bytes) -> tuple[Known | None, float]:
        """A line whose series was not seen before, or that carries a timestamp. Raises ValueError."""
        match = _SAMPLE.match(line.decode("utf-8", "replace")) if len(line) <= LINE_BYTES else None
        series = parse_series(match[1]) if match is not None else None
        if match is None or series is None:
            raise ValueError
        value = float(match[2])
        known = self._recognise(series) if series.name.startswith(self._prefix.decode()) else None
        head = line.rstrip().rpartition(b" ")[0]
        if head.decode("utf-8", "replace").rstrip() == match[1]:  # no timestamp stands last
            self._remember(head, known)
        return known, value

    def _remember(self, head: bytes, known: Known | None) -> None:
        if len(self._known) >= SERIES_MOST or self._known_bytes + len(head) > KNOWN_BYTES:
            self._known.clear()  # labels come and go, over days: those of now are learned anew
            self._known_bytes = 0
        self._known[head] = known
        self._known_bytes += len(head)


def parse_series(text: str) -> Series | None:
    """`name{label="value",...}` as a series; None when it is none."""
    name, brace, rest = text.partition("{")
    name = name.strip()
    if not _NAME.fullmatch(name):
        return None
    labels: dict[str, str] = {}
    inside = rest.rstrip().removesuffix("}").strip() if brace else ""
    position = 0
    while position < len(inside):
        match = _LABEL.match(inside, position)
        if match is None:
            return None
        labels[match[1]] = _ESCAPE.sub(_unescape, match[2])
        position = match.end()
    return Series(name, labels)


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])


def _refuse_others(body: bytes) -> None:
    start = body[:512].lstrip()
    if start.startswith(b"<"):
        raise NotPrometheusError("it is a web page (HTML)")
    if start.startswith((b"{", b"[")):
        raise NotPrometheusError("it is JSON")
    if body and b"\n" not in body:
        raise NotPrometheusError(f"no whole line; the first bytes are {body[:60]!r}")

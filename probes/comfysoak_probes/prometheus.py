"""Prometheus text, as exporters write it: strict enough to refuse a web page, forgiving about single lines.

A library would do: `prometheus_client` parses it at 20 µs a line and brings a metrics registry along; here a
series is recognised by its text, so that a scrape at 10 Hz costs a dictionary look-up a line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LINE_BYTES = 16 * 1024
SERIES_MOST = 20_000


class NotPrometheusError(ValueError):
    """The text is something else; the message says what it looks like."""


@dataclass(frozen=True, slots=True)
class Series:
    """A series: its name and its labels."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scrape:
    """One scrape: the value of each series, and how many lines could not be read."""

    samples: list[tuple[Series, float]]
    bad_lines: int


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)')
_SAMPLE = re.compile(r"^([^\s{]+(?:\s*\{.*\})?)\s+(\S+)(?:\s+-?\d+)?\s*$")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(slots=True)
class Parser:
    """Parses scrape after scrape of one exporter and remembers its series."""

    _known: dict[str, Series | None] = field(default_factory=dict)

    def parse(self, body: bytes) -> Scrape:
        """The samples in `body`. Raises NotPrometheusError when it is no such text at all.

        A last line without its end is cut off, and is left out.
        """
        text = _text(body)
        samples: list[tuple[Series, float]] = []
        bad = 0
        for line in text.split("\n"):
            if not line or line[0] == "#" or line.isspace():
                continue
            sample = self._sample(line)
            if sample is None:
                bad += 1
            else:
                samples.append(sample)
        if bad and not samples:
            raise NotPrometheusError(f"none of {bad} lines is a sample; the first bytes are {body[:60]!r}")
        return Scrape(samples, bad)

    def _sample(self, line: str) -> tuple[Series, float] | None:
        head, _, value = line.rpartition(" ")
        series = self._known.get(head)
        if series is None:
            return self._new(line)
        try:
            return series, float(value)
        except ValueError:
            return None

    def _new(self, line: str) -> tuple[Series, float] | None:
        """A line whose series was not seen before, or that carries a timestamp."""
        match = _SAMPLE.match(line) if len(line) <= LINE_BYTES else None
        if match is None:
            return None
        series = parse_series(match[1])
        try:
            value = float(match[2])
        except ValueError:
            return None
        if series is not None and line == f"{match[1]} {match[2]}" and len(self._known) < SERIES_MOST:
            self._known[match[1]] = series
        return None if series is None else (series, value)


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


def _text(body: bytes) -> str:
    start = body[:512].lstrip()
    if start.startswith(b"<"):
        raise NotPrometheusError("it is a web page (HTML)")
    if start.startswith((b"{", b"[")):
        raise NotPrometheusError("it is JSON")
    whole = body[: body.rfind(b"\n") + 1]
    if body and not whole:
        raise NotPrometheusError(f"no whole line; the first bytes are {body[:60]!r}")
    return whole.decode("utf-8", "replace")

"""What a chart is made of. Colours are roles (`success`, `p95`, `gpu-0`), which the page knows for light and dark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.figures.packed import numbers, packed
from comfysoak_analysis.statistics.series import Floats


@dataclass(frozen=True, slots=True)
class Series:
    """Values at even steps.

    `kind` is `line`, `step`, `area`, `bar` (stacked), `limit` (a dotted line) or `band` (from `low` to `high` alone).
    `of` is what it is about: the uuid of a GPU, the address of a server; empty: all of them, always shown. One of a
    `fleet` is shown while nothing is selected, and in its place then are those `of` what is selected.
    """

    name: str
    colour: str
    kind: str
    grid: Grid
    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    offset_s: float = 0.0  # where the first value stands, after the start of the run
    of: str = ""
    fleet: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As the page reads it; moments are milliseconds after the start of the run."""
        return {
            "name": self.name,
            "colour": self.colour,
            "kind": self.kind,
            "x0": self.offset_s * 1000,
            "dx": self.grid.width_s * 1000,
            "of": self.of,
            "fleet": self.fleet,
            "y": packed(self.values),
            "low": None if self.low is None else packed(self.low),
            "high": None if self.high is None else packed(self.high),
        }


@dataclass(frozen=True, slots=True)
class Dots:
    """Single moments, each with its own words. `y` are numbers, or rows of a strip by name."""

    name: str
    colour: str
    seconds: Floats
    y: tuple[str, ...] | Floats
    words: tuple[str, ...] = ()
    small: bool = False
    symbol: str = "circle"
    of: tuple[str, ...] = ()  # what each is about, where that is known; as of a series

    def to_dict(self) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "name": self.name,
            "colour": self.colour,
            "small": self.small,
            "symbol": self.symbol,
            "x": [round(second * 1000) for second in self.seconds.tolist()],
            "y": list(self.y) if isinstance(self.y, tuple) else numbers(self.y),
            "words": list(self.words),
            "of": places(self.of),
        }


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of time in rows of a strip."""

    name: str
    colour: str
    starts_s: Floats
    lasting_s: Floats
    rows: tuple[str, ...]
    words: tuple[str, ...]
    of: tuple[str, ...] = ()  # what each is about, where that is known; as of a series

    def to_dict(self) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "name": self.name,
            "colour": self.colour,
            "x": [round(second * 1000) for second in self.starts_s.tolist()],
            "lasting": [round(second * 1000, 1) for second in self.lasting_s.tolist()],
            "rows": list(self.rows),
            "words": list(self.words),
            "of": places(self.of),
        }


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; `empty` says why there is nothing to draw."""

    key: str
    title: str
    note: str
    unit: str = ""  # behind the values when hovered
    series: tuple[Series, ...] = ()
    dots: tuple[Dots, ...] = ()
    spans: tuple[Spans, ...] = ()
    empty: str = ""
    height: int = 200
    whole: bool = False  # the axis shows shares up to 100 %
    decimals: str = ",.3~r"  # of values when hovered (d3-format)
    rows: tuple[str, ...] = field(default=())  # of a strip, from the top
    across: str = ""  # what the x axis counts, where that is not time; its values are then seconds by name only

    @property
    def legend(self) -> tuple[tuple[str, str, str], ...]:
        """Name, colour and kind of all that is drawn, each name once."""
        parts = [
            *((one.name, one.colour, one.kind) for one in self.series),
            *((one.name, one.colour, "span") for one in self.spans),
            *((one.name, one.colour, "dot") for one in self.dots),
        ]
        return tuple({name: (name, colour, kind) for name, colour, kind in reversed(parts)}.values())[::-1]

    def to_dict(self) -> dict[str, Any]:
        """As the page reads it."""
        return {
            "key": self.key,
            "unit": self.unit,
            "height": self.height,
            "whole": self.whole,
            "decimals": self.decimals,
            "rows": list(self.rows),
            "across": self.across,
            "series": [one.to_dict() for one in self.series],
            "dots": [one.to_dict() for one in self.dots],
            "spans": [one.to_dict() for one in self.spans],
        }


def places(names: tuple[str, ...]) -> dict[str, list[int]] | None:
    """For each name where it stands: shorter than the names, and what a selection needs; None of none."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return found or None


def line(name: str, colour: str, buckets: Buckets, *, kind: str = "line", of: str = "") -> Series:
    """A line through the means, in a band from minimum to maximum."""
    half_s = buckets.grid.width_s / 2
    return Series(name, colour, kind, buckets.grid, buckets.mean, buckets.low, buckets.high, half_s, of)

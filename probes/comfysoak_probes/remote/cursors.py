"""How far a run has got with each remote probe: a sampler that is started again goes on where the last one stopped.

A source puts a `Bookmark` behind the rows it hands over. The sink writes it to a file before it writes the rows: killed
between the two, the rows of one drain are lost, and none is ever there twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from comfysoak_core.rows import Row
from comfysoak_core.value import value
from comfysoak_probes.remote.answers import IDENTITY_CHARACTERS, NUMBER_MOST
from comfysoak_probes.remote.clock import POINTS_MOST, Point
from comfysoak_probes.sampling.sampler import Sink

CURSOR_FILE = "probes.json"


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last row a run has of the ring `ring`; how its probe's clock was moved (`points`, see RemoteClock).

    `ahead_ns` is how far that clock was ahead when it was first measured.
    """

    ring: str
    after: int
    ahead_ns: int
    points: tuple[Point, ...]


@value(kw_only=True)
class Bookmark(Row):
    """A cursor on its way to the sink; in no table."""

    TABLE: ClassVar[str] = "bookmarks"

    at_ns: int
    url: str
    cursor: Cursor


def read_cursors(run_dir: Path) -> dict[str, Cursor]:
    """The cursor of each probe by its URL; those that cannot be read are left out, and begin anew."""
    try:
        stored = orjson.loads((run_dir / CURSOR_FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    cursors: dict[str, Cursor] = {}
    for url, told in stored.items() if isinstance(stored, dict) else ():
        with contextlib.suppress(KeyError, TypeError, ValueError):
            cursors[url] = _cursor(told)
    return cursors


class BookmarkSink:
    """Writes bookmarks to the file of the run directory, then hands the rows on."""

    def __init__(self, rows: Sink, run_dir: Path) -> None:
        self._rows = rows
        self._path = run_dir / CURSOR_FILE
        self._cursors = read_cursors(run_dir)

    def take(self, rows: Iterable[Row]) -> None:
        """Keep the bookmarks among these rows, then the others."""
        others = []
        marked = False
        for row in rows:
            if isinstance(row, Bookmark):
                self._cursors[row.url] = row.cursor
                marked = True
            else:
                others.append(row)
        if marked:
            self._write()
        self._rows.take(others)

    def close(self) -> None:
        """All rows have come."""
        self._rows.close()

    def _write(self) -> None:
        """Replace the file as a whole; where the disk refuses, the cursor stays behind."""
        temporary = self._path.with_name(f".{CURSOR_FILE}.new")
        with contextlib.suppress(OSError):
            temporary.write_bytes(orjson.dumps(self._cursors))
            os.replace(temporary, self._path)  # noqa: PTH105  # twice a second, and the pathlib form costs more


def _cursor(told: Any) -> Cursor:  # any JSON value; KeyError, TypeError or ValueError when it is none of ours
    points = tuple(
        Point(_whole(point["probe_ns"]), _whole(point["ahead_ns"], -NUMBER_MOST), _whole(point["error_ns"]))
        for point in told["points"][:POINTS_MOST]
    )
    ring = told["ring"]
    if type(ring) is not str or not 0 < len(ring) <= IDENTITY_CHARACTERS:
        raise ValueError(f"expected the identity of a ring, got {str(ring)[:40]!r}")
    return Cursor(ring, _whole(told["after"]), _whole(told["ahead_ns"], -NUMBER_MOST), points)


def _whole(number: object, least: int = 0) -> int:
    if type(number) is not int or not least <= number < NUMBER_MOST:
        raise ValueError(f"expected a whole number, got {str(number)[:40]!r}")
    return number

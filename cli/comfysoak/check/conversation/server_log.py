"""The server's own log, as GET /internal/logs/raw has it: its last lines, and what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.errors import TargetError
from comfysoak_probes.log.lines import Lines, LogKind, LogLine, parse_line

ROUTE = "/internal/logs/raw"
_FRAME: Final = re.compile(r'  File "[^"]*\bexecution\.py", line \d+, in \w*execute\w*\n?')


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of what was printed, and when, by the server's clock."""

    time: str
    text: str


def read_log(client: ComfyClient) -> tuple[Entry, ...] | None:
    """The last some hundred entries; None where this route is not to be had."""
    try:
        document = client.get_json(ROUTE)
    except TargetError:
        return None
    entries = document.get("entries") if isinstance(document, dict) else None
    return tuple(_entries(entries)) if isinstance(entries, list) else None


def _entries(said: Sequence[Any]) -> Iterator[Entry]:
    for entry in said:
        if isinstance(entry, dict) and isinstance(entry.get("t"), str) and isinstance(entry.get("m"), str):
            yield Entry(entry["t"], entry["m"])


def added(before: Sequence[Entry] | None, after: Sequence[Entry] | None) -> tuple[LogLine, ...] | None:
    """What was printed between two readings; None when one of them is not to be had."""
    if before is None or after is None:
        return None
    old = frozenset(before)  # stamps have microseconds: no two entries are equal
    return lines_of([entry for entry in after if entry not in old])


def goes_back(readings: Sequence[Sequence[Entry] | None]) -> bool:
    """Whether readings, one after the other, are of several servers: the newest entry of one never gets older.

    Once could be a clock that was set back; who changes to and fro goes back again and again.
    """
    newest = [entries[-1].time for entries in readings if entries]
    return sum(later < earlier for earlier, later in pairwise(newest)) > 1


def lines_of(entries: Sequence[Entry]) -> tuple[LogLine, ...]:
    """The lines among them that say something."""
    lines = Lines()
    whole = [line for entry in entries for line in lines.feed(entry.text)]
    return tuple(found for found in map(parse_line, whole) if found is not None)


def worker_died(entries: Sequence[Entry] | None) -> LogLine | None:
    """The line that tells of the death of the worker thread, unless the server was started since."""
    died = None
    for line in lines_of(entries or ()):
        if line.kind is LogKind.WORKER_DIED:
            died = line
        elif line.kind is LogKind.READY:
            died = None
    return died or _uncaught(entries or ())


def _uncaught(entries: Sequence[Entry]) -> LogLine | None:
    """What is left of its traceback: written in pieces of a few characters, it pushes its own first lines out.

    What ComfyUI catches it logs in one piece. A frame of its executor that is a piece by itself was caught by nobody.
    """
    frames = [index for index, entry in enumerate(entries) if _FRAME.fullmatch(entry.text)]
    if not frames:
        return None
    after = "".join(entry.text for entry in entries[frames[-1] + 1 :]).splitlines()
    error = next((line for line in after if line and not line[0].isspace()), "an exception")
    return LogLine(LogKind.WORKER_DIED, f"{error[:200]}, which nothing caught, in its executor")

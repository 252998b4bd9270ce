"""Times as traces and logs write them: seconds, seconds or milliseconds since 1970, RFC 3339."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from comfysoak_core.comfyui.json_text import bounded

EXAMPLES: Final = "12.5 (seconds), 1795349154193 (milliseconds since 1970) or 2026-11-22T10:15:00Z"

# Below each bound a number is in this unit; 1e11 seconds since 1970 is the year 5138, 1e11 milliseconds is 1973.
_UNITS: Final = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (math.inf, 1e-9))


class Moments:
    """Reads the times of one file. Its first time says which kind they all are."""

    def __init__(self) -> None:
        self._unit_s: float | None = None  # of a number; 0 where times are dates

    def seconds(self, written: object) -> float:
        """A time in seconds, from 1970 or from wherever the file counts; ValueError for what is none."""
        number = _number(written)
        if number is not None:
            unit_s = self._kind(next(unit for below, unit in _UNITS if abs(number) < below))
            if unit_s == 0:
                raise ValueError(f"expected a date, as in the lines before, got {_short(written)}")
            return number * unit_s
        date = date_of(written)
        if date is None:
            raise ValueError(f"expected a time such as {EXAMPLES}, got {_short(written)}")
        if self._kind(0) != 0:
            raise ValueError(f"expected a number, as in the lines before, got {_short(written)}")
        return date

    def _kind(self, found: float) -> float:
        if self._unit_s is None:
            self._unit_s = found
        return self._unit_s


def date_of(written: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 date; one without a zone is taken for UTC. None for what is no date."""
    if not isinstance(written, str):
        return None
    try:
        date = datetime.fromisoformat(written.strip())
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(written: object) -> float | None:
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        return None
    try:
        number = float(written)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _short(written: object) -> str:
    return bounded(repr(written), 60)

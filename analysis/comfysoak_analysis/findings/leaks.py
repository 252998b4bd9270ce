"""What VRAM_LEAK and RAM_LEAK share: memory after each settle, and how a leak is told."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.rising import Rise, Series
from comfysoak_analysis.frames import Run
from comfysoak_analysis.settles import settled_spans

MIB = 1024**2
LEAST_BYTES = 64 * MIB  # over the run
SHORT_S, LEAST_SOON_BYTES = 1800.0, 512 * MIB  # a server that was just started takes that much, and then no more
FEWEST_SETTLES = 8  # of fewer no test can tell
SUBJECTS_TOLD = 3
HOUR_S = 3600.0


def least_bytes(run: Run) -> float:
    """The least rise that counts as a leak: in half an hour only one that nobody takes for a start."""
    return LEAST_BYTES if run.duration_s >= SHORT_S else LEAST_SOON_BYTES


def settled_series(run: Run, subject: str, track: Buckets) -> Series | None:
    """The least memory while the servers stood idle with all let go; None where that was too seldom to decide."""
    seconds, values = [], []
    for begin, end in settled_spans(run):
        begin_s, end_s = ((edge - run.start).total_seconds() for edge in (begin, end))
        first, last = (int(place) for place in track.grid.index(np.array([begin_s, end_s])))
        lows = track.low[first : last + 1]
        if np.isfinite(lows).any():
            seconds.append((begin_s + end_s) / 2)
            values.append(float(np.nanmin(lows)))
    if len(values) < FEWEST_SETTLES:
        return None
    return Series(subject, np.array(seconds), np.array(values), independent=True)


def leak_words(rise: Rise, by: str, left_h: float | None, until: str) -> str:
    """Slope with its interval, the rise over the run, and how long it can go on."""
    slope, low, high = (
        HOUR_S * one / MIB for one in (rise.trend.slope_per_s, rise.trend.low_per_s, rise.trend.high_per_s)
    )
    hours = (rise.ended_s - rise.began_s) / HOUR_S
    said = (
        f"{rise.series.subject}: {_number(slope)} MiB/h (95 %: {_number(low)} to {_number(high)}), "
        f"{rise.total / MIB:,.0f} MiB over {_hours(hours)}, {by}."
    )
    if left_h is None:
        return said
    return f"{said} At that rate {until} is reached in {_hours(left_h)}." if left_h > 0 else f"{said} It is at {until}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _hours(hours: float) -> str:
    return f"{_number(hours)} h" if hours >= 1 else f"{hours * 60:.3g} min"


def others_words(found: Sequence[Rise], what: str) -> str:
    """How many more there are than were told."""
    more = len(found) - SUBJECTS_TOLD
    return f" And {more:,} more {what}{'s' if more > 1 else ''}." if more > 0 else ""


def hours_left(rise: Rise, room_bytes: float) -> float | None:
    """Until `room_bytes` are used up; None where it is not known how much there is."""
    return room_bytes / rise.trend.slope_per_s / HOUR_S if np.isfinite(room_bytes) else None


def lately(values: np.ndarray, share: float = 0.1) -> np.ndarray:
    """The known values of the last tenth of those that are known."""
    known: np.ndarray = values[np.isfinite(values)]
    return known[-max(round(known.size * share), 1) :]


def leak_rows(run: Run, found: Sequence[Rise], servers: Sequence[str | None]) -> pd.DataFrame:
    """Where each begins and ends, for the marks."""
    rows = [
        (rise.series.subject, run.start + pd.Timedelta(seconds=at_s), server)
        for rise, server in zip(found, servers, strict=True)
        for at_s in (rise.began_s, rise.ended_s)
    ]
    return pd.DataFrame(rows, columns=["id", "moment", "server"]).drop_duplicates()

"""The strip of what held GPUs back: stretches with lowered clocks, Xids, and when a GPU was lost and found.

A stretch is told by the reasons the driver gives for its clocks at a moment, and by its counters of throttled time,
which miss no short one. An idle GPU, or clocks somebody set, hold nothing back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.figures.chart import Chart, Dots, Spans
from comfysoak_analysis.figures.gpu_names import Lineup, Named, lineup
from comfysoak_analysis.frames import Run, told_once
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import for_chart
from comfysoak_core.scenario.quantities import format_duration

MOST_SPANS = 750
MOST_MARKS = 400  # a GPU
_LEAST_SHARE = 0.002  # of the run, so that a stretch shorter than a pixel is still seen
_HOLD_S = 2.0
_HELD_SHARE = 0.01  # of the time between two rows: counters creep by microseconds on any card
_READ = ("at_ns", "uuid", "source", "event_reasons", "power_throttled_s", "thermal_throttled_s")
_EVENT_ROW = "events"
_EVENTS = {
    "xid": ("Xid", "critical", "circle"),
    "gpu_lost": ("lost", "critical", "x"),
    "gpu_vanished": ("lost", "critical", "x"),
    "source_missing": ("no longer read", "warning", "x"),
    "source_found": ("found again", "info", "circle-open"),
}


Held = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of being held back: its reasons, and the column that counts its time, if there is one."""

    name: str
    colour: str
    reasons: frozenset[str]
    counter: str | None = None


KINDS = (
    Kind("power", "info", frozenset({"software_power_cap"}), "power_throttled_s"),
    Kind("heat", "warning", frozenset({"software_thermal", "hardware_thermal"}), "thermal_throttled_s"),
    Kind("hardware", "critical", frozenset({"hardware_slowdown", "power_brake"})),
    Kind("sync boost", "quiet", frozenset({"sync_boost"})),
)


def states(run: Run) -> Chart | None:
    """A row for each GPU and kind; None where nothing ever happened."""
    return run.once(_states)


def _states(run: Run) -> Chart | None:
    gpus = lineup(run)
    spans, dots = tuple(_all_spans(run, gpus)), tuple(_all_dots(run, gpus))
    marked = {row for one in spans for row in one.rows} | {str(row) for one in dots for row in one.y}
    ordered = (_row(gpu, what) for gpu in gpus.gpus for what in (*(kind.name for kind in KINDS), _EVENT_ROW))
    rows = tuple(row for row in dict.fromkeys(ordered) if row in marked)
    if not rows:
        return None
    note = (
        "Stretches in which clocks were lowered, by power limit, heat or hardware, and Xids and losses; "
        "point at one for what was told."
    )
    height = 70 + 26 * min(len(rows), 20)
    return Chart("gpu-states", "What held GPUs back", note, spans=spans, dots=dots, rows=rows, height=height)


def _row(gpu: Named, what: str) -> str:
    return f"{gpu.name} · {what}"


def _all_spans(run: Run, gpus: Lineup) -> Iterator[Spans]:
    found_of = run.once(_all_stretches)
    for kind in KINDS:
        found = [
            (_row(gpu, kind.name), *stretch, gpu.uuid)
            for gpu in gpus.gpus
            for stretch in found_of.get((gpu.uuid, kind.name), ())
        ]
        if found:
            starts, lasting = (np.array([one[place] for one in found], dtype=float) for place in (1, 2))
            shown = np.maximum(lasting, run.duration_s * _LEAST_SHARE)
            rows, words = tuple(one[0] for one in found), tuple(one[3] for one in found)
            about = tuple(one[4] for one in found)
            yield Spans(f"lowered by {kind.name}", kind.colour, starts, shown, rows, words, about)


def _all_stretches(run: Run) -> dict[tuple[str, str], list[tuple[float, float, str]]]:
    """By GPU and kind; each GPU for itself, since all rows together have no room beside the prompts."""
    rows = run.lean("gpu_slow", _READ)
    found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    for gpu in lineup(run).gpus:
        part = told_once(rows[rows["uuid"] == gpu.uuid])
        for kind in KINDS if len(part) > 1 else ():
            found[gpu.uuid, kind.name] = list(_stretches(run, gpu, part, kind))
    return found


def _stretches(run: Run, gpu: Named, rows: pd.DataFrame, kind: Kind) -> Iterator[tuple[float, float, str]]:
    """Start, length and words of each stretch of one GPU; those closer than could be seen are one."""
    seconds = run.since_start_s(rows["at"])
    lasted = np.diff(seconds)
    usual = float(np.median(lasted))
    lasted = np.append(lasted, usual)
    reasons = _reasons(rows["event_reasons"], kind)
    grown = _growth(rows, kind.counter)
    held = (reasons | (grown > _HELD_SHARE * lasted)) & (lasted <= max(_HOLD_S, 3 * usual))
    for first, last in _merged(seconds, lasted, held, run.duration_s / MOST_SPANS):
        start, length = float(seconds[first]), float(seconds[last] + lasted[last] - seconds[first])
        yield start, length, _words(gpu, kind, length, float(grown[first : last + 1].sum()))


def _reasons(told: pd.Series, kind: Kind) -> Held:
    codes, texts = pd.factorize(told)
    found: Held = np.array([*(_has(text, kind.reasons) for text in texts), False], dtype=bool)[codes]
    return found


def _has(told: object, reasons: frozenset[str]) -> bool:
    return isinstance(told, str) and not reasons.isdisjoint(told.split(","))


def _growth(rows: pd.DataFrame, counter: str | None) -> Floats:
    """By how much the counter grows from each row to the next; 0 where that is not known."""
    if counter is None:
        return np.zeros(len(rows))
    grown = np.diff(rows[counter].to_numpy(dtype=float), append=np.nan)
    return np.where(grown > 0, grown, 0.0)


def _merged(seconds: Floats, lasted: Floats, held: Held, apart_s: float) -> Iterator[tuple[int, int]]:
    """First and last row of each stretch."""
    first = last = -1
    for place in np.flatnonzero(held).tolist():
        if first >= 0 and seconds[place] - (seconds[last] + lasted[last]) <= apart_s:
            last = place
            continue
        if first >= 0:
            yield first, last
        first = last = place
    if first >= 0:
        yield first, last


def _words(gpu: Named, kind: Kind, lasting_s: float, counted_s: float) -> str:
    counted = f", {counted_s:.3g} s of it by the driver's count" if counted_s > 0 else ""
    return f"{gpu.name} · clocks lowered by {kind.name} · {format_duration(round(lasting_s, 1))}{counted}"


def _all_dots(run: Run, gpus: Lineup) -> Iterator[Dots]:
    events = run.events[run.events["kind"].isin(_EVENTS)]
    for gpu in gpus.gpus:
        for kind, part in events[events["subject"] == gpu.uuid].groupby("kind", sort=True):
            name, colour, symbol = _EVENTS[str(kind)]
            shown = part.head(MOST_MARKS)
            words = tuple(f"{gpu.name} · {name}: {for_chart(detail, 120)}" for detail in shown["detail"].fillna(""))
            rows = (_row(gpu, _EVENT_ROW),) * len(shown)
            yield Dots(
                name, colour, run.since_start_s(shown["at"]), rows, words, symbol=symbol, of=(gpu.uuid,) * len(shown)
            )

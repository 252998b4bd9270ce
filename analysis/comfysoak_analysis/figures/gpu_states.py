"""The strip of what held GPUs back: stretches with lowered clocks, Xids, and when a GPU was lost and found.

A stretch is told by the reasons the driver gives for its clocks at a moment, and by its counters of throttled time,
which miss no short one. An idle GPU, or clocks somebody set, hold nothing back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from comfysoak_analysis.figures.chart import Chart, Dots, Spans
from comfysoak_analysis.figures.gpu_names import Lineup, Named, lineup
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Pace, Part, parts
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.watched_gpus import DRIVER
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.quantities import format_duration

MOST_SPANS = 750
MOST_MARKS = 400  # a GPU
_LEAST_SHARE = 0.002  # of the run, so that a stretch shorter than a pixel is still seen
_HOLD_S = 2.0
_HELD_SHARE = 0.01  # of the time between two rows: counters creep by microseconds on any card
_EVENT_ROW = "events"
_EVENTS = {
    "xid": ("Xid", "critical", "circle"),
    "gpu_lost": ("lost", "critical", "x"),
    "gpu_vanished": ("lost", "critical", "x"),
    "source_missing": ("no longer read", "warning", "x"),
    "source_found": ("found again", "info", "circle-open"),
}


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
    """By GPU and kind; by the driver, where it tells of that kind."""
    found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
    watched = _watched(run)
    for gpu, (place, kind) in product(lineup(run).gpus, enumerate(KINDS)):
        told = (one[place] for (uuid, _, _), one in watched if uuid == gpu.uuid and one[place].tells)
        found[gpu.uuid, kind.name] = [stretch for one in islice(told, 1) for stretch in _stretches(run, gpu, one)]
    return found


def _watched(run: Run) -> list[tuple[tuple[str, bool, str], tuple[_HeldBack, ...]]]:
    """Each GPU by each source that tells of it, that of the driver first; in the order of `KINDS`."""
    found: dict[tuple[str, bool, str], tuple[_HeldBack, ...]] = {}
    paces: dict[tuple[str, bool, str], Pace] = {}
    counters = [kind.counter for kind in KINDS if kind.counter is not None]
    for part in parts(run.reader("gpu_slow"), "gpu_slow", "uuid", counters, ("event_reasons",)):
        key = part.subject, part.source != DRIVER, part.source
        pace = paces.setdefault(key, Pace())
        pace.add(part.at_ns)
        for one in found.setdefault(key, tuple(_HeldBack(kind, pace) for kind in KINDS)):
            one.add(part, (part.at_ns - (run.start_ns or 0)) / NS_PER_S)
    return sorted(found.items(), key=lambda one: one[0])


class _HeldBack:
    """Samples of one GPU by one source at which one kind may have held it back: kept while the others go by."""

    def __init__(self, kind: Kind, pace: Pace) -> None:
        """`pace`: of all these samples."""
        self.kind, self.tells, self._pace = kind, False, pace
        self._last = np.empty((0, 3))  # second, whether a reason was given, counter: the next tells how long it lasted
        self._grown_s = 0.0  # the counter, until `_last`
        self._kept: list[Floats] = []  # second, how long it lasted, and the counter's growth until then, and after it

    def add(self, part: Part, seconds: Floats) -> None:
        """More samples, in the order of time."""
        codes, texts = part.texts["event_reasons"]
        reasons = np.array([_has(text, self.kind.reasons) for text in texts], dtype=float)[codes]
        counter = part.values[self.kind.counter] if self.kind.counter else np.full(len(seconds), np.nan)
        self.tells = self.tells or bool((codes >= 0).any() or not np.isnan(counter).all())
        rows = np.concatenate([self._last, np.stack([seconds, reasons, counter], axis=1)])
        lasted, grown = np.diff(rows[:, 0]), np.diff(rows[:, 2])
        grown = np.where(grown > 0, grown, 0.0)
        after = self._grown_s + np.cumsum(grown)
        held = (rows[:-1, 1] > 0) | (grown > _HELD_SHARE * lasted)
        self._kept.append(np.stack([rows[:-1, 0], lasted, after - grown, after], axis=1)[held])
        self._last, self._grown_s = rows[-1:], float(after[-1]) if after.size else self._grown_s

    def rows(self) -> Floats:
        """What was kept, less what stands before a gap; the last of all lasted as long as is usual."""
        usual_s = round(self._pace.median_s(), 4)  # good to 10 µs
        last = np.array([[self._last[0, 0], usual_s, self._grown_s, self._grown_s]])
        rows = np.concatenate([*self._kept, last[self._last[:, 1] > 0]])
        found: Floats = rows[rows[:, 1] <= max(_HOLD_S, 3 * usual_s)]  # none of a single sample: NaN
        return found


def _stretches(run: Run, gpu: Named, told: _HeldBack) -> Iterator[tuple[float, float, str]]:
    """Start, length and words of each stretch of one GPU; those closer than could be seen are one."""
    seconds, lasted, before, after = told.rows().T
    for first, last in _merged(seconds, lasted, run.duration_s / MOST_SPANS):
        start, length = float(seconds[first]), float(seconds[last] + lasted[last] - seconds[first])
        yield start, length, _words(gpu, told.kind, length, float(after[last] - before[first]))


def _has(told: object, reasons: frozenset[str]) -> bool:
    return isinstance(told, str) and not reasons.isdisjoint(told.split(","))


def _merged(seconds: Floats, lasted: Floats, apart_s: float) -> Iterator[tuple[int, int]]:
    """First and last row of each stretch."""
    first = last = -1
    for place in range(len(seconds)):
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

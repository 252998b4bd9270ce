"""What is asked of the servers: a rate, the shape of a day, or a trace of what really came.

    30/min                       as many all the time, at random moments (Poisson)
    10/min..60/min               day and night: from the first up to the second and back in 24 h, as a cosine
    5/min,40/min,60/min,20/min   a day in equal parts
    trace.jsonl                  a trace as `comfysoak trace` makes it

Of a shape or a trace one stretch is planned for: that at a percentile of its busy ones, which are those with at least
the mean demand. A trace's stretch comes as it came, with the stretch before as a run-in.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from comfysoak_analysis.planning.times import Places
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import bounded
from comfysoak_core.errors import Problem, UsageError
from comfysoak_core.scenario.curve import Wave
from comfysoak_core.scenario.quantities import format_duration, parse_rate
from comfysoak_core.trace.file import open_text
from comfysoak_core.trace.lines import Readable, TraceLine, bounded_lines, lines_of_trace
from comfysoak_core.trace.order import TooLateError, in_order

DAY_S = 86_400.0
PARTS_OF_A_WAVE = 96  # quarters of an hour
STRETCHES_S = (3600.0, 600.0, 60.0)  # the longest of which a trace has enough
STRETCHES_LEAST = 4
LEAD_SHARE = 0.1  # of a rate's prompts the first, which find empty servers, are in no figure
RATE_EXAMPLE = "30/min, 10/min..60/min (day and night), 5/min,40/min,20/min (parts of a day) or a file of a trace"
NO_NAME = -1


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Prompts that are due at `due_s`, rising, shape (n,); those from `first` on count. `names`: see `Demand`."""

    due_s: Floats
    names: Places
    first: int


@dataclass(frozen=True, slots=True)
class Demand:
    """One demand. `stretch` are moments (s) and names of a trace's planned stretch; None where arrivals are random.

    A name is a place in `workflows`, or NO_NAME where the mix decides. Rates are prompts a second.
    """

    text: str
    kind: str  # "rate", "shape" or "trace"
    per_s: float  # of the stretch that is planned for
    mean_per_s: float
    busiest_per_s: float
    stretches: str = ""  # how the stretch was chosen, in words
    stretch: tuple[Floats, Places, float] | None = None  # moments, names, where the run-in ends
    busiest: tuple[Floats, Places, float] | None = None
    workflows: tuple[str, ...] = ()

    def grown(self, factor: float) -> Demand:
        """So many times as much; a trace comes so many times as fast."""
        return replace(
            self,
            per_s=self.per_s * factor,
            mean_per_s=self.mean_per_s * factor,
            busiest_per_s=self.busiest_per_s * factor,
            stretch=_faster(self.stretch, factor),
            busiest=_faster(self.busiest, factor),
        )

    def at_its_busiest(self) -> Demand:
        """The same, planned for its busiest stretch."""
        return replace(self, per_s=self.busiest_per_s, stretch=self.busiest)

    def arrivals(self, count: int, numbers: np.random.Generator) -> Arrivals:
        """`count` prompts, at random moments of the planned rate; of a trace as many as there are."""
        if self.stretch is None:
            drawn_s = np.cumsum(numbers.exponential(1 / self.per_s, count))
            return Arrivals(drawn_s, np.full(count, NO_NAME), int(count * LEAD_SHARE))
        due_s, names, lead_s = self.stretch
        return Arrivals(due_s, names, int(np.searchsorted(due_s, lead_s)))


def _faster(stretch: tuple[Floats, Places, float] | None, factor: float) -> tuple[Floats, Places, float] | None:
    return None if stretch is None else (stretch[0] / factor, stretch[1], stretch[2] / factor)


def read_demand(text: str, percentile: float = 95.0) -> Demand:
    """The demand `text` states, in one of the ways above; UsageError for what is none. `percentile` is in per cent."""
    if Path(text).is_file():
        return trace_demand(text, *read_trace(Path(text)), percentile)
    try:
        if ".." in text:
            low, _, high = text.partition("..")
            return shape_demand(text, _wave(parse_rate(low), parse_rate(high)), percentile)
        rates = [parse_rate(part) for part in text.split(",")]
    except ValueError:
        what = f"expected a demand such as {RATE_EXAMPLE}, got {bounded(text, 80)!r}"
        raise UsageError(what, "A trace is made by: comfysoak trace SOURCE --out trace.jsonl") from None
    if max(rates) <= 0:
        raise UsageError(f"the demand {bounded(text, 80)!r} is nothing at all", "Name a rate above zero.")
    if len(rates) > 1:
        return shape_demand(text, np.array(rates), percentile)
    return Demand(text, "rate", rates[0], rates[0], rates[0])


def _wave(low: float, high: float) -> Floats:
    """The rate of each part of a day."""
    wave, part_s = Wave(low=low, high=high, period_s=DAY_S), DAY_S / PARTS_OF_A_WAVE
    until = np.array([wave.amount(number * part_s, DAY_S) for number in range(PARTS_OF_A_WAVE + 1)])
    rates: Floats = np.diff(until) / part_s
    return rates


def shape_demand(text: str, rates: Floats, percentile: float) -> Demand:
    """A day whose equal parts have these rates (a second)."""
    if float(rates.max()) <= 0:
        raise UsageError(f"the demand {bounded(text, 80)!r} is nothing at all", "Name a rate above zero.")
    place, busy = _at(rates, percentile)
    part = format_duration(DAY_S / len(rates))
    said = f"percentile {percentile:g} of the {busy} busy of {len(rates)} parts of a day ({part} each)"
    return Demand(text, "shape", float(rates[place]), float(rates.mean()), float(rates.max()), said)


def _at(rates: Floats, percentile: float) -> tuple[int, int]:
    """The place of the stretch at a percentile of the busy ones, and how many those are."""
    busy = np.flatnonzero(rates >= rates.mean() * (1 - 1e-9))
    order = busy[np.argsort(rates[busy], kind="stable")]
    return int(order[max(math.ceil(len(order) * percentile / 100), 1) - 1]), len(order)


def trace_demand(text: str, due_s: Floats, names: Places, workflows: tuple[str, ...], percentile: float) -> Demand:
    """A trace: moments since its first prompt, and of each its workflow as a place in `workflows`."""
    lasts_s = float(due_s[-1])
    stretch_s = next((one for one in STRETCHES_S if lasts_s >= STRETCHES_LEAST * one), 0.0)
    if not stretch_s:
        if lasts_s <= 0:
            raise UsageError("the trace has no length: its prompts came at one moment", "Take a longer one.")
        per_s, whole = len(due_s) / lasts_s, (due_s, names, due_s[0] + LEAD_SHARE * lasts_s)
        said = "the whole trace, which is too short to have busy stretches"
        return Demand(text, "trace", per_s, per_s, per_s, said, whole, whole, workflows)
    edges: Floats = np.arange(int(lasts_s // stretch_s) + 1, dtype=float) * stretch_s
    rates = np.diff(np.searchsorted(due_s, edges)) / stretch_s
    place, busy = _at(rates, percentile)
    top = int(np.argmax(rates))
    length = format_duration(stretch_s)
    said = f"percentile {percentile:g} of the {busy} busy of {len(rates)} stretches of {length}"
    chosen, busiest = (_cut(due_s, names, edges, one) for one in (place, top))
    mean = len(due_s) / lasts_s
    return Demand(text, "trace", float(rates[place]), mean, float(rates[top]), said, chosen, busiest, workflows)


def _cut(due_s: Floats, names: Places, edges: Floats, place: int) -> tuple[Floats, Places, float]:
    """The stretch at `place`, with the one before for a run-in; the first has a tenth of itself."""
    begin_s, end_s = edges[max(place - 1, 0)], edges[place + 1]
    lead_s = edges[place] if place else LEAD_SHARE * end_s
    chosen = slice(*np.searchsorted(due_s, (begin_s, end_s)).tolist())
    return due_s[chosen] - begin_s, names[chosen], float(lead_s - begin_s)


def read_trace(path: Path) -> tuple[Floats, Places, tuple[str, ...]]:
    """Moments since the first prompt, workflows as places, and their names; UsageError for what is no trace."""
    moments: list[float] = []
    places: list[int] = []
    numbers: dict[str, int] = {}
    try:
        with open_text(path) as stream:
            for line in in_order(_lines(stream, str(path))):
                moments.append(line.time_s)
                known = line.workflow is not None
                places.append(numbers.setdefault(line.workflow or "", len(numbers)) if known else NO_NAME)
    except TooLateError as error:
        raise UsageError(f"the trace is out of order: {error}", "Sort it by time first.", where=str(path)) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"the trace cannot be read: {error}", "Check the file.", where=str(path)) from None
    if len(moments) < 2:
        raise UsageError("the trace holds fewer than two prompts", f"Expected {RATE_EXAMPLE}.", where=str(path))
    due_s = np.array(moments)
    return due_s - due_s[0], np.array(places, dtype=np.int64), tuple(numbers)


def _lines(stream: Readable, name: str) -> Iterator[TraceLine]:
    for found in lines_of_trace(bounded_lines(stream), name):
        if isinstance(found, Problem):
            raise UsageError(found.what, found.remedy, where=found.where)
        yield found

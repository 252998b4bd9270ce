"""The page that lays two sides over each other: one file that needs nothing else, in the look of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Standing
from comfysoak_analysis.compare.figures import charts
from comfysoak_analysis.compare.words import Line, cases_text, lines
from comfysoak_analysis.figures.chart import Chart
from comfysoak_analysis.page import page
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.quantities import format_duration

_HEADLINES = {
    Conclusion.REGRESSION: ("Regression", "✕", "failed"),
    Conclusion.NO_REGRESSION: ("No regression", "✓", "passed"),
    Conclusion.CANNOT_TELL: ("Cannot tell", "?", "undecided"),
    Conclusion.NOT_COMPARABLE: ("Not comparable", "!", "not valid"),
}
_TONES: Mapping[str, str] = {
    Standing.WORSE: "missed",
    Standing.BETTER: "met",
    Standing.SAME: "met",
    Standing.UNKNOWN: "undecided",
    "informs": "",
}


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run as the page lists it."""

    side: str
    name: str
    started: str
    lasted: str


@dataclass(frozen=True, slots=True)
class Sides:
    """The whole page."""

    headline: str
    mark: str
    tone: str
    sentence: str
    cases: str
    names: tuple[str, str]
    lines: tuple[Line, ...]
    tones: Mapping[str, str]
    notes: tuple[tuple[str, str], ...]
    charts: tuple[Chart, ...]
    runs: tuple[RunLine, ...]
    version: str


def render(comparison: Comparison) -> str:
    """The page as HTML."""
    sides = _sides(comparison)
    drawn = [chart for chart in sides.charts if not chart.empty]
    data = {
        "start_ms": 0,
        "end_ms": 1,
        "live": False,
        "phases": [],
        "marks": [],
        "findings": {},
        "subjects": [],
        "charts": [{**chart.to_dict(), "legend": [name for name, _, _ in chart.legend]} for chart in drawn],
    }
    return page("compare.html", data, sides=sides)


def _sides(comparison: Comparison) -> Sides:
    headline, mark, tone = _HEADLINES[comparison.conclusion]
    notes = [("note", remark) for remark in comparison.remarks]
    notes += [("caution" if one.refuses else "note", one.in_words(comparison.sides)) for one in comparison.differences]
    notes += [("invalid", reason) for reason in comparison.invalid]
    return Sides(
        headline=headline,
        mark=mark,
        tone=tone,
        sentence=comparison.sentence,
        cases=cases_text(comparison),
        names=comparison.sides,
        lines=lines(comparison),
        tones=_TONES,
        notes=tuple(notes),
        charts=charts(comparison),
        runs=tuple(_runs(comparison)),
        version=_version(),
    )


def _runs(comparison: Comparison) -> list[RunLine]:
    return [
        RunLine(side, run.name, _moment(run.started_ns), format_duration(round(run.duration_s)))
        for side, runs in zip(comparison.sides, (comparison.baseline, comparison.new), strict=True)
        for run in runs
    ]


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _version() -> str:
    try:
        return version("comfysoak")
    except PackageNotFoundError:
        return ""

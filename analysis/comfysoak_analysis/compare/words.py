"""Changes and values in words, the same in the terminal, in markdown, in JUnit and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfysoak_analysis.compare.comparison import Comparison, Effect, Method, Row
from comfysoak_analysis.compare.gates import Measure
from comfysoak_core.scenario.goals import Unit

_SHOWN = (
    "prompts.failed", "prompts.per_minute", "prompts.latency.p50", "prompts.latency.p95", "prompts.latency.p99",
    "prompts.queue_wait.p95", "prompts.typical_service", "prompts.service.p95", "models.load.p50", "sessions.dropped",
    "gpu.memory.max", "gpu.utilisation.mean", "gpu.utilisation.while_queued", "prompts.per_kwh", "findings.critical",
    "findings.warning",
)  # fmt: skip
MOST_OF_WORKFLOWS = 12


def change_text(measure: Measure, change: float, *, sign: bool = True) -> str:
    """`+10.3 %` by ratio, `+1.2 points` of a share, else in the measure's unit."""
    plus = "+" if sign and change > 0 else ""
    if measure.by_ratio:
        return f"{plus}{change * 100:.1f} %" if abs(change) < 10 else f"{plus}{change * 100:.3g} %"
    if measure.unit is Unit.RATIO:
        points = f"{change * 100:.2g}"
        return f"{plus}{points} point{'' if points == '1' else 's'}"
    if measure.unit is Unit.COUNT:
        return f"{plus}{change:.3g}"
    shown = measure.unit.show(abs(change))
    return f"{'-' if change < 0 else plus}{shown}"


def value_text(measure: Measure, value: float | None) -> str:
    """A value in its unit, `—` where there is none."""
    return "—" if value is None else measure.unit.show(value)


def effect_text(row: Row) -> str:
    """`+10.3 % (95 %: +6.1 to +14.0 %)`."""
    if row.effect is None:
        return "—"
    return f"{change_text(row.measure, row.effect.value)}{_interval(row.measure, row.effect)}"


def _interval(measure: Measure, effect: Effect) -> str:
    if effect.confidence <= 0:
        return " (no interval)"
    low, high = (change_text(measure, end) for end in (effect.low, effect.high))
    low = low.removesuffix(" %") if measure.by_ratio else low.removesuffix(" points")
    held = "95" if effect.confidence >= 0.95 else f"{effect.confidence * 100:.0f}"
    return f" ({held} %: {low} to {high})"


def p_text(row: Row) -> str:
    """The corrected p of a gate."""
    if row.p_corrected is None:
        return ""
    return "< 0.001" if row.p_corrected < 0.001 else f"{row.p_corrected:.3f}"


def limit_text(row: Row) -> str:
    """How much worse matters, of a gate."""
    if not row.is_gate:
        return ""
    if not row.change:
        return "any worse"
    more = "less" if row.measure.worse < 0 else "more"
    return f"{change_text(row.measure, row.change, sign=False)} {more}"


def standing_text(row: Row) -> str:
    """How it stands, or that it only informs."""
    return row.standing.value if row.standing is not None else "informs"


def cases_text(comparison: Comparison) -> str:
    """`5 runs (baseline) against 5 (new)`, and by what it was decided."""
    if comparison.method is Method.BLOCKS:
        pairs = max((len(row.new) for row in comparison.rows), default=0)
        return f"{pairs} pairs of blocks, {comparison.method.value}"
    old, new = len(comparison.baseline), len(comparison.new)
    sides = f"{old} run{'' if old == 1 else 's'} ({comparison.sides[0]}) against {new} ({comparison.sides[1]})"
    return f"{sides}, {comparison.method.value}"


def worth_showing(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Gates, what people look for, and the measures of single workflows; all others stand in the JSON."""
    gates = [row for row in rows if row.is_gate]
    others = {row.measure.name: row for row in rows if not row.is_gate}
    told = [others[name] for name in _SHOWN if name in others]
    of_workflows = [row for row in others.values() if row.measure.filters][:MOST_OF_WORKFLOWS]
    failures = [row for name, row in others.items() if name.startswith("failures.")]
    return (*gates, *told, *of_workflows, *failures)


@dataclass(frozen=True, slots=True)
class Line:
    """One measure as a table shows it."""

    standing: str
    measure: str
    baseline: str
    new: str
    change: str
    matters: str
    p: str


def lines(comparison: Comparison) -> tuple[Line, ...]:
    """The rows worth showing, in words."""
    return tuple(
        Line(
            standing_text(row),
            row.measure.name,
            value_text(row.measure, row.middle_baseline),
            value_text(row.measure, row.middle_new),
            effect_text(row),
            limit_text(row),
            p_text(row),
        )
        for row in worth_showing(comparison.rows)
    )

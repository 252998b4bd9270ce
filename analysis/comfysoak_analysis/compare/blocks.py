"""The two sides of one interleaved run (`comfysoak run --ab`), compared by their pairs of blocks.

A pair is one case: both of its blocks had the same prompts, one shortly after the other. What is due in the first
seconds of a block counts for nothing, and no prompt of one side ran beside one of the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Effect, Method, Row, Standing
from comfysoak_analysis.compare.deciding import UNLIKELY, above_zero, concluded, judged
from comfysoak_analysis.compare.facts import facts_of
from comfysoak_analysis.compare.gates import DEFAULT_GATES, Gate, Measure, of_workflow, parse_measure
from comfysoak_analysis.compare.markdown import markdown
from comfysoak_analysis.compare.page import render
from comfysoak_analysis.compare.summary import OF_A_WORKFLOW, RunSummary, course_of, workflow_times
from comfysoak_analysis.compare.words import effect_text, limit_text
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_analysis.statistics.comparison import (
    paired_difference,
    paired_ratio,
    paired_test,
    paired_test_reaches,
)
from comfysoak_analysis.text import bounded
from comfysoak_analysis.validity import doubts
from comfysoak_analysis.verdict import Doubt, GoalResult, Weight
from comfysoak_analysis.verdict import Standing as GoalStanding
from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.goals import MEASURES
from comfysoak_core.scenario.stage import Side

_NOT_OF_BLOCKS = frozenset({"prompts.per_gpu_hour", "prompts.per_kwh", "prompts.count"})
_MEASURED = tuple(name for name in MEASURES if name.startswith("prompts.") and name not in _NOT_OF_BLOCKS)
MOST_WORKFLOWS = 10
PAGE, TABLE = "compare.html", "compare.md"


@dataclass(frozen=True)
class _OfBlock(Evidence):
    """Measures are those of the prompts of one block."""

    block: pd.DataFrame | None = None

    @cached_property
    def in_phase(self) -> pd.DataFrame:
        """The prompts of the block."""
        assert self.block is not None  # noqa: S101  # made with one
        return self.block


@dataclass(frozen=True, slots=True)
class Pair:
    """The prompts of the two blocks of a pair, less those due in the first seconds of each."""

    number: int
    old: pd.DataFrame
    new: pd.DataFrame


def is_interleaved(run: Run) -> bool:
    """Whether a run has two sides."""
    return run.plan is not None and run.plan.interleaving is not None


def pairs(run: Run) -> tuple[Pair, ...]:
    """The pairs of a run of which both blocks were begun, in order."""
    found: dict[int, dict[Side, pd.DataFrame]] = {}
    for side, number, block in _blocks(run):
        found.setdefault(number, {})[side] = block
    return tuple(
        Pair(number, sides[Side.OLD], sides[Side.NEW]) for number, sides in sorted(found.items()) if len(sides) == 2
    )


def _blocks(run: Run) -> Iterator[tuple[Side, int, pd.DataFrame]]:
    plan = run.plan
    if plan is None or plan.interleaving is None:
        return
    began = {phase.name: phase.started_ns for phase in run.phases}
    for stage in plan.stages:
        if stage.block is None or stage.block.pair < 0 or stage.phase not in began:
            continue
        counted_from = pd.Timestamp(began[stage.phase]) + pd.Timedelta(seconds=plan.interleaving.discard_s)
        prompts = run.prompts[(run.prompts["phase"] == stage.phase) & (run.prompts["scheduled"] >= counted_from)]
        yield stage.block.side, stage.block.pair, prompts


def compare_sides(run: Run, gates: Sequence[Gate] = DEFAULT_GATES) -> Comparison:
    """Whether the new server is worse than the old. UsageError for a run that has no two sides, or gates it cannot ask.

    An invalid run does not compare: what made it invalid may have struck one side alone.
    """
    if not is_interleaved(run):
        raise UsageError(
            f"{run.path} has no two sides: it was not made by comfysoak run --ab",
            "Name runs to compare it with: comfysoak compare RUN... --baseline RUN... (or FILE.json)",
        )
    _check(gates)
    against = doubts(run, find_all(run, GpuStates(run)))
    return _compared(run, gates, _invalid(against))


def _invalid(against: Sequence[Doubt]) -> tuple[str, ...]:
    return tuple(bounded(one.what, 300) for one in against if one.weight is Weight.INVALID)


def _compared(run: Run, gates: Sequence[Gate], invalid: tuple[str, ...]) -> Comparison:
    sides = [_side(run, side, invalid) for side in Side]
    start = Comparison(
        Conclusion.NOT_COMPARABLE,
        "",
        Method.NONE,
        (),
        (),
        invalid,
        (),
        (sides[0],),
        (sides[1],),
        ("old", "new"),
        "pair",
    )
    if invalid:
        return replace(start, sentence=f"The run is not valid: {invalid[0]}")
    return _tested(replace(start, remarks=tuple(_remarks(run))), run, pairs(run), gates)


def _check(gates: Sequence[Gate]) -> None:
    for gate in gates:
        if gate.measure.base not in _MEASURED:
            raise UsageError(
                f"--gate {gate.measure.name}: blocks of one run are compared by what prompts tell (prompts.*)",
                "Compare several runs for anything else: comfysoak compare RUN... --baseline RUN...",
            )


def _tested(start: Comparison, run: Run, found: Sequence[Pair], gates: Sequence[Gate]) -> Comparison:
    tested = gated(gates, [_values(gate.measure, run, found) for gate in gates])
    method = Method.NONE if all(row.p is None for row in tested) else Method.BLOCKS
    chosen = {gate.measure.name for gate in gates}
    others = [_row(one, _values(one, run, found)) for one in _informing(run) if one.name not in chosen]
    told = [row for row in others if row.effect is not None and any((*row.baseline, *row.new))]
    comparison = replace(start, method=method, rows=(*tested, *told))
    if method is Method.NONE:
        return replace(comparison, conclusion=Conclusion.CANNOT_TELL, sentence=_too_few(tested, len(gates)))
    return concluded(comparison)


def _informing(run: Run) -> list[Measure]:
    measures = [parse_measure(name) for name in _MEASURED]
    names = run.prompts["workflow"].value_counts().index[:MOST_WORKFLOWS]
    if len(names) > 1:
        measures += [of_workflow(base, str(name)) for name in names for base in OF_A_WORKFLOW]
    return measures


def gated(gates: Sequence[Gate], values: Sequence[Sequence[tuple[float, float]]]) -> tuple[Row, ...]:
    """Each gate judged, by its values in the old and the new block of each pair (NaN where a block has none)."""
    rows = [_gate_row(gate, _row(gate.measure, of), len(gates)) for gate, of in zip(gates, values, strict=True)]
    return judged(rows, UNLIKELY)


def _values(one: Measure, run: Run, found: Sequence[Pair]) -> list[tuple[float, float]]:
    return [(_value(one, run, pair.old), _value(one, run, pair.new)) for pair in found]


def _row(one: Measure, values: Sequence[tuple[float, float]]) -> Row:
    """One value a block; a pair of which a block has none is left out on both sides."""
    known = [(old, new) for old, new in values if np.isfinite(old) and np.isfinite(new)]
    old, new = (tuple(value[index] for value in known) for index in range(2))
    if not known:
        return Row(one, (), (), None, None, None)
    return Row(one, old, new, float(np.median(old)), float(np.median(new)), _effect(one, old, new))


def _value(one: Measure, run: Run, block: pd.DataFrame) -> float:
    return float(measure(one.base, _OfBlock(run, (), None, dict(one.filters), block=block)).value)


def _effect(one: Measure, old: Sequence[float], new: Sequence[float]) -> Effect:
    if one.by_ratio:
        by = paired_ratio(above_zero(old), above_zero(new))
        return Effect(by.ratio - 1, by.low - 1, by.high - 1, by.confidence)
    apart = paired_difference(np.subtract(new, old))
    return Effect(apart.difference, apart.low, apart.high, apart.confidence)


def _gate_row(gate: Gate, row: Row, gates: int) -> Row:
    row = replace(row, is_gate=True, change=gate.change, standing=Standing.UNKNOWN)
    if paired_test_reaches(len(row.new)) * gates >= UNLIKELY:
        return replace(row, remark=f"only {len(row.new)} pairs of blocks have it on both sides")
    old, new = (np.asarray(side, dtype=float) for side in (row.baseline, row.new))
    if gate.measure.by_ratio:
        old, new = np.log(np.maximum(old, 1e-9)), np.log(np.maximum(new, 1e-9))
    return replace(row, p=paired_test(((new - old) * gate.measure.worse).tolist(), greater=True))


def _too_few(rows: Sequence[Row], gates: int) -> str:
    needed = next(n for n in range(1, 100) if paired_test_reaches(n) * gates < UNLIKELY)
    most = max((len(row.new) for row in rows), default=0)
    return (
        f"{most} pairs of blocks with a measured prompt on both sides can never tell: with {gates} gates it takes"
        f" {needed}. Let it run longer, or take shorter blocks (--ab-block)."
    )


def _remarks(run: Run) -> Iterator[str]:
    plan = run.plan
    if plan is not None and plan.interleaving is not None:
        yield f"What was due in the first {plan.interleaving.discard_s:.3g} s of each block counts for nothing."
        astray = _astray(run)
        if astray:
            yield f"{astray:,} prompts went to the server whose block it was not."


def _astray(run: Run) -> int:
    """Prompts of a block that went to the other server: there should be none."""
    plan = run.plan
    if plan is None:
        return 0
    wrong = 0
    for stage in plan.stages:
        if stage.block is not None and stage.block.pair > 0:
            of_block = run.prompts[run.prompts["phase"] == stage.phase]
            wrong += int((of_block["intended"] & (of_block["server"] != plan.servers[stage.block.server])).sum())
    return wrong


def _server(run: Run, side: Side) -> str:
    servers = dict(zip(Side, run.plan.servers if run.plan is not None else (), strict=False))
    return servers.get(side, side.value)


def _side(run: Run, side: Side, invalid: tuple[str, ...]) -> RunSummary:
    """One side for the page: how its times are spread, and how they went."""
    parts = [pair.old if side is Side.OLD else pair.new for pair in pairs(run)]
    prompts = pd.concat(parts) if parts else run.prompts.head(0)
    return RunSummary(
        name=f"{bounded(run.recording.run.name, 120)}, {bounded(_server(run, side), 120)}",
        id=f"{run.recording.run.id}/{side}",
        started_ns=run.start_ns or 0,
        duration_s=run.duration_s,
        facts=facts_of(run),
        figures=(),
        workflows=tuple(workflow_times(prompts)),
        course=course_of(run, prompts),
        invalid=invalid,
    )


def as_goals(run: Run, against: Sequence[Doubt]) -> tuple[GoalResult, ...]:
    """The gates as goals of the run, so that they decide its verdict; none of a run without two sides, or not valid."""
    if not is_interleaved(run) or _invalid(against):
        return ()
    comparison = _compared(run, DEFAULT_GATES, ())
    why = comparison.sentence if comparison.method is Method.NONE else ""
    return tuple(_as_goal(row, why) for row in comparison.gates)


def _as_goal(row: Row, why: str) -> GoalResult:
    standing = _STANDINGS[row.standing] if row.standing is not None else GoalStanding.UNDECIDED
    least = limit_text(row)
    return GoalResult(
        text=f"{row.measure.name}: new not worse than old ({least} matters)",
        measure=row.measure.name,
        standing=standing,
        value=row.effect.value if row.effect is not None else None,
        limit=row.change,
        unit="change",
        value_text=effect_text(row),
        limit_text=f"< {least}",
        samples=len(row.new),
        reason=(why or row.remark) if standing is GoalStanding.UNDECIDED else f"{len(row.new)} pairs of blocks",
    )


def documents(run: Run, against: Sequence[Doubt]) -> dict[str, bytes]:
    """The page and the table that compare the two sides, beside the report; none of a run without two sides."""
    if not is_interleaved(run):
        return {}
    comparison = _compared(run, DEFAULT_GATES, _invalid(against))
    return {PAGE: render(comparison).encode("utf-8", "replace"), TABLE: markdown(comparison).encode("utf-8", "replace")}


_STANDINGS = {
    Standing.WORSE: GoalStanding.MISSED,
    Standing.UNKNOWN: GoalStanding.UNDECIDED,
    Standing.SAME: GoalStanding.MET,
    Standing.BETTER: GoalStanding.MET,
}

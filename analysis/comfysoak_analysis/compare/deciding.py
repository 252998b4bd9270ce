"""From two sides to an answer: which test fits, what each measure says, and whether that is a regression.

    five runs a side, say       rank test over runs, one-sided for worse, Holm over the gates: p < 0.05
    one or two new runs         control chart over eight or more runs of history: p < 0.01, as it is asked every night
    fewer                       effects only, and how many runs it takes

A gate is worse when it is, in the middle, beyond the change that matters AND such a change is unlikely by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from comfysoak_analysis.compare.comparison import Comparison, Conclusion, Effect, Method, Row, Standing
from comfysoak_analysis.compare.facts import differences
from comfysoak_analysis.compare.gates import DEFAULT_GATES, Gate, Measure, parse_measure
from comfysoak_analysis.compare.summary import RunSummary, values_of
from comfysoak_analysis.compare.words import change_text, effect_text
from comfysoak_analysis.statistics.comparison import (
    CONFIDENCE,
    Control,
    chance_of_hits,
    control,
    difference,
    holm,
    rank_test,
    rank_test_reaches,
    ratio,
)
from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.goals import Unit

UNLIKELY = 0.05
ALARM = 0.01
HISTORY_LEAST = 8
NEW_MOST = 2  # of a control chart; three new runs against eight can be tested
MOST_ASKED = 100  # runs a side, beyond which no number is named
_RARE = 1_000_000
_FLOOR = 1e-9  # a ratio needs values above zero


def compare(
    baseline: Sequence[RunSummary],
    new: Sequence[RunSummary],
    gates: Sequence[Gate] = DEFAULT_GATES,
    *,
    anyway: bool = False,
) -> Comparison:
    """Whether `new` is worse than `baseline`. `anyway`: also when they differ in what should be alike.

    Raises UsageError when a side is empty, or a run is on both.
    """
    _check(baseline, new)
    found = differences([run.facts for run in baseline], [run.facts for run in new])
    invalid = tuple(f"{run.name}: {reason}" for run in (*baseline, *new) for reason in run.invalid)
    start = Comparison(Conclusion.NOT_COMPARABLE, "", Method.NONE, (), found, invalid, (), tuple(baseline), tuple(new))
    refused = [one for one in found if one.refuses]
    if (refused or invalid) and not anyway:
        return replace(start, sentence=_why_not(start))
    method = _method(len(baseline), len(new), len(gates))
    rows = _rows(baseline, new, gates, method)
    return concluded(replace(start, method=method, rows=rows, remarks=tuple(_remarks(baseline, new, rows, method))))


def _check(baseline: Sequence[RunSummary], new: Sequence[RunSummary]) -> None:
    if not baseline or not new:
        raise UsageError("expected runs on both sides", "comfysoak compare RUN... --baseline RUN...")
    ids = [run.id for run in (*baseline, *new)]
    twice = next((run.name for run in (*baseline, *new) if ids.count(run.id) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is there twice", "Name each run once, and on one side.")


def _method(baseline: int, new: int, gates: int) -> Method:
    if new <= NEW_MOST and baseline >= HISTORY_LEAST:
        return Method.CHART
    return Method.RUNS if rank_test_reaches(baseline, new) * gates < UNLIKELY else Method.NONE


def runs_needed(gates: int) -> int:
    """How many runs a side it takes before a rank test can say anything of so many gates."""
    return next((n for n in range(1, MOST_ASKED) if rank_test_reaches(n, n) * gates < UNLIKELY), MOST_ASKED)


def _rows(
    baseline: Sequence[RunSummary], new: Sequence[RunSummary], gates: Sequence[Gate], method: Method
) -> tuple[Row, ...]:
    tested = [_gate_row(gate, baseline, new, method, len(gates)) for gate in gates]
    chosen = {gate.measure.name for gate in gates}
    names = dict.fromkeys(figure.name for run in (*baseline, *new) for figure in run.figures)
    others = [_row(measure_of(name), baseline, new) for name in names if name not in chosen]
    told = [row for row in others if row.effect is not None and any((*row.baseline, *row.new))]
    return (*judged(tested, UNLIKELY if method is Method.RUNS else ALARM), *told)


def measure_of(name: str) -> Measure:
    """The measure of a figure in a summary; one that this version does not know is a count."""
    try:
        return parse_measure(name)
    except ValueError:
        return Measure(name, name.partition("{")[0], Unit.COUNT)


def _row(measure: Measure, baseline: Sequence[RunSummary], new: Sequence[RunSummary]) -> Row:
    old_values, new_values = values_of(baseline, measure), values_of(new, measure)
    effect = effect_of(measure, old_values, new_values) if old_values and new_values else None
    return Row(measure, old_values, new_values, _middle(old_values), _middle(new_values), effect)


def effect_of(measure: Measure, baseline: Sequence[float], new: Sequence[float]) -> Effect:
    """New against baseline, by ratio or by difference."""
    if measure.by_ratio:
        by = ratio(above_zero(baseline), above_zero(new))
        return Effect(by.ratio - 1, by.low - 1, by.high - 1, by.confidence)
    apart = difference(baseline, new)
    return Effect(apart.difference, apart.low, apart.high, apart.confidence)


def above_zero(values: Sequence[float]) -> list[float]:
    """For logarithms: a rate of nothing is a very small one."""
    return [max(value, _FLOOR) for value in values]


def _middle(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _gate_row(gate: Gate, baseline: Sequence[RunSummary], new: Sequence[RunSummary], method: Method, gates: int) -> Row:
    row = replace(_row(gate.measure, baseline, new), is_gate=True, change=gate.change, standing=Standing.UNKNOWN)
    if row.effect is None:
        sides = [side for side, values in (("baseline", row.baseline), ("new runs", row.new)) if not values]
        return replace(row, remark=f"not measured in the {' nor the '.join(sides)}")
    if method is Method.RUNS:
        if rank_test_reaches(len(row.baseline), len(row.new)) * gates >= UNLIKELY:
            return replace(row, remark=f"only {len(row.baseline)} runs against {len(row.new)} have it")
        up = gate.measure.worse > 0
        first, second = (row.baseline, row.new) if up else (row.new, row.baseline)
        return replace(row, p=rank_test(first, second, greater=True))
    if method is Method.CHART and len(row.baseline) >= HISTORY_LEAST:
        return _charted(row, baseline, new)
    return row


def _charted(row: Row, baseline: Sequence[RunSummary], new: Sequence[RunSummary]) -> Row:
    """The row by a control chart: on logarithms where it is compared by ratio."""
    measure = row.measure
    scaled = [np.log(above_zero(side)).tolist() if measure.by_ratio else list(side) for side in (row.baseline, row.new)]
    least = 0.0 if measure.by_ratio else _chance_alone(measure, baseline, new)
    found = control(scaled[0], scaled[1], p=ALARM, least_spread=least)
    sure = control(scaled[0], scaled[1], p=(1 - CONFIDENCE) / 2, least_spread=least)
    reach, apart = sure.high - sure.centre, found.new - found.centre
    ends = (apart, apart - reach, apart + reach)
    value, low, high = (math.expm1(end) for end in ends) if measure.by_ratio else ends
    limits = (math.exp(found.low), math.exp(found.high)) if measure.by_ratio else (max(found.low, 0.0), found.high)
    centre = math.exp(found.centre) if measure.by_ratio else found.centre
    return replace(
        row,
        effect=Effect(value, low, high, CONFIDENCE),
        p=max(found.p_above, _by_chance(measure, baseline, new)) if measure.worse > 0 else found.p_below,
        limits=limits,
        middle_baseline=centre,
        remark=_left_out(found, row, baseline),
    )


def _left_out(found: Control, row: Row, baseline: Sequence[RunSummary]) -> str:
    having = [run for run in baseline if run.figure(row.measure.name) is not None]
    names = [having[index].name for index in found.left_out]
    return f"far from the other runs of the history, and left out: {', '.join(names)}" if names else ""


def _chance_alone(measure: Measure, baseline: Sequence[RunSummary], new: Sequence[RunSummary]) -> float:
    """By how much a share, or a count, differs from run to run though nothing differs: by its binomial, or Poisson."""
    old, fresh = ([run.figure(measure.name) for run in side] for side in (baseline, new))
    before = [figure for figure in old if figure is not None]
    after = [figure.samples for figure in fresh if figure is not None and figure.samples > 0]
    if measure.unit is Unit.COUNT:
        return math.sqrt((sum(figure.value for figure in before) + 1) / len(before))
    cases = sum(figure.samples for figure in before)
    if measure.unit is not Unit.RATIO or not after or not cases:
        return 0.0
    hits = sum(min(max(figure.value, 0.0), 1.0) * figure.samples for figure in before)
    share = (hits + 1) / (cases + 2)
    return math.sqrt(share * (1 - share) / min(after))


def _by_chance(measure: Measure, baseline: Sequence[RunSummary], new: Sequence[RunSummary]) -> float:
    """How likely so many failures are after those of the history; 0 for what is no share and no count."""
    found = [[figure for run in side if (figure := run.figure(measure.name)) is not None] for side in (baseline, new)]
    if measure.unit is Unit.COUNT:  # of a run, as many rare cases
        told = [(round(sum(figure.value for figure in side)), _RARE * len(side)) for side in found]
    elif measure.unit is Unit.RATIO:
        told = [(round(sum(figure.value * figure.samples for figure in side)), sum(figure.samples for figure in side))
                for side in found]  # fmt: skip
    else:
        return 0.0
    (hits, cases), (new_hits, new_cases) = told
    return chance_of_hits(min(hits, cases), cases, min(new_hits, new_cases), new_cases)


def judged(rows: Sequence[Row], unlikely: float) -> tuple[Row, ...]:
    """Gates with their corrected p and how they stand."""
    tested = [row for row in rows if row.p is not None]
    corrected = dict(zip([row.measure.name for row in tested], holm([row.p or 0.0 for row in tested]), strict=True))
    return tuple(_judged(row, corrected.get(row.measure.name), unlikely) for row in rows)


def _judged(row: Row, corrected: float | None, unlikely: float) -> Row:
    if corrected is None or row.effect is None:
        return row
    worse_by = row.effect.value * row.measure.worse
    least = worse_by > worse_limit(row)
    standing = Standing.SAME
    if least and corrected < unlikely:
        standing = Standing.WORSE
    elif _is_better(row, worse_by):
        standing = Standing.BETTER
    return replace(row, p_corrected=corrected, standing=standing)


def worse_limit(row: Row) -> float:
    """The change that matters, in the direction that is worse: what doubles in time halves in rate."""
    if row.measure.by_ratio and row.measure.worse < 0:
        return 1 - 1 / (1 + row.change)
    return row.change


def _is_better(row: Row, worse_by: float) -> bool:
    """By as much as matters, and the whole interval says so: that is told, and decides nothing."""
    effect = row.effect
    if effect is None or effect.confidence < CONFIDENCE or -worse_by <= worse_limit(row):
        return False
    return effect.high < 0 if row.measure.worse > 0 else effect.low > 0


def concluded(comparison: Comparison) -> Comparison:
    """With its answer: a regression if a gate is worse; else none, if all gates can tell."""
    gates = comparison.gates
    worse = [row for row in gates if row.standing is Standing.WORSE]
    unknown = [row for row in gates if row.standing is Standing.UNKNOWN]
    if worse:
        said = "; ".join(f"{row.measure.name} {effect_text(row)}" for row in worse)
        return replace(comparison, conclusion=Conclusion.REGRESSION, sentence=f"Worse: {said}.")
    if comparison.method is Method.NONE or unknown:
        sentence = _too_few(comparison) if comparison.method is Method.NONE else _not_measured(unknown)
        return replace(comparison, conclusion=Conclusion.CANNOT_TELL, sentence=sentence)
    return replace(comparison, conclusion=Conclusion.NO_REGRESSION, sentence=_none_found(gates))


def _none_found(gates: Sequence[Row]) -> str:
    better = [row for row in gates if row.standing is Standing.BETTER]
    said = [f"Better: {'; '.join(f'{row.measure.name} {effect_text(row)}' for row in better)}."] if better else []
    hidden = [text for row in gates if (text := _could_hide(row))]
    return " ".join(["No regression was found.", *said, *([f"What could still hide: {', '.join(hidden)}."]
                                                          if hidden else [])])  # fmt: skip


def _could_hide(row: Row) -> str:
    """The worse end of the interval, where that is more than matters."""
    if row.effect is None or row.effect.confidence < CONFIDENCE:
        return ""
    end = row.effect.high if row.measure.worse > 0 else row.effect.low
    if end * row.measure.worse <= worse_limit(row):
        return ""
    return f"{row.measure.name} up to {change_text(row.measure, end)}"


def _too_few(comparison: Comparison) -> str:
    gates, old, new = len(comparison.gates), len(comparison.baseline), len(comparison.new)
    needed = runs_needed(gates)
    return (
        f"{old} run{'' if old == 1 else 's'} against {new} can never tell, however large the difference: with"
        f" {gates} gate{'' if gates == 1 else 's'} it takes {needed} runs a side (5 or more find a slowdown of 10 %),"
        f" or one new run against a history of {HISTORY_LEAST}."
    )


def _not_measured(unknown: Sequence[Row]) -> str:
    return " ".join(f"{row.measure.name}: {row.remark or 'too few runs have it'}." for row in unknown)


def _why_not(comparison: Comparison) -> str:
    parts = [one.in_words() for one in comparison.differences if one.refuses]
    said = [f"These do not compare. {'; '.join(parts)}."] if parts else []
    if comparison.invalid:
        said.append(f"Not valid: {'; '.join(comparison.invalid[:4])}")
    return " ".join([*said, "Compare them all the same with --anyway."])


def _remarks(
    baseline: Sequence[RunSummary], new: Sequence[RunSummary], rows: Sequence[Row], method: Method
) -> list[str]:
    found = [f"{row.measure.name}: {row.remark}." for row in rows if row.is_gate and row.remark]
    if method is Method.CHART and len(new) == 1:
        found.append("One run more or less is one run: if it says worse, run it twice more and compare all three.")
    if method is Method.RUNS and min(len(baseline), len(new)) < 5:
        found.append("With fewer than 5 runs a side only large differences are found.")
    return found

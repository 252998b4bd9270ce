"""What a comparison says, as frozen values and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import orjson

from comfysoak_analysis.compare.facts import Difference
from comfysoak_analysis.compare.gates import Measure
from comfysoak_analysis.compare.summary import RunSummary
from comfysoak_core.errors import ExitCode

VERSION = 1


class Method(StrEnum):
    """By what it was decided."""

    RUNS = "rank test over runs"
    CHART = "control chart over the history"
    BLOCKS = "signed-rank test over pairs of blocks"
    NONE = "too few to test"


class Standing(StrEnum):
    """How a gate stands."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "no change shown"
    UNKNOWN = "cannot tell"


class Conclusion(StrEnum):
    """The answer in a word or two."""

    REGRESSION = "regression"
    NO_REGRESSION = "no regression"
    CANNOT_TELL = "cannot tell"
    NOT_COMPARABLE = "not comparable"


EXIT_CODES = {
    Conclusion.REGRESSION: ExitCode.GOAL_MISSED,
    Conclusion.NO_REGRESSION: ExitCode.OK,
    Conclusion.CANNOT_TELL: ExitCode.NOT_VALID,
    Conclusion.NOT_COMPARABLE: ExitCode.NOT_VALID,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """New against baseline: a share of the baseline by ratio (0.1 is 10 % more), else in the measure's unit.

    `confidence` is what the interval holds, 0 where there is none.
    """

    value: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Row:
    """One measure. `effect` is None where a side has no value; `limits` are those of a control chart.

    Of a gate: `change` is how much worse matters, `p` the chance of values so much worse when nothing has changed,
    `p_corrected` the same for being one of several gates.
    """

    measure: Measure
    baseline: tuple[float, ...]
    new: tuple[float, ...]
    middle_baseline: float | None
    middle_new: float | None
    effect: Effect | None
    is_gate: bool = False
    change: float = 0.0
    p: float | None = None
    p_corrected: float | None = None
    standing: Standing | None = None  # None: it only informs
    limits: tuple[float, float] | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides and what lies between them; gates come first in `rows`."""

    conclusion: Conclusion
    sentence: str
    method: Method
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...]
    invalid: tuple[str, ...]  # runs that may not be believed, each with the reason
    remarks: tuple[str, ...]
    baseline: tuple[RunSummary, ...]
    new: tuple[RunSummary, ...]
    sides: tuple[str, str] = ("baseline", "new")
    unit_of_cases: str = "run"
    version: int = VERSION

    @property
    def exit_code(self) -> ExitCode:
        """0 no regression, 1 regression, 3 neither can be said."""
        return EXIT_CODES[self.conclusion]

    @property
    def gates(self) -> tuple[Row, ...]:
        """The rows that decide."""
        return tuple(row for row in self.rows if row.is_gate)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "version": self.version,
            "conclusion": self.conclusion.value,
            "exit_code": int(self.exit_code),
            "sentence": self.sentence,
            "method": self.method.value,
            "sides": {
                side: [{"run": run.name, "started_ns": run.started_ns} for run in runs]
                for side, runs in zip(self.sides, (self.baseline, self.new), strict=True)
            },
            "rows": [_row(row) for row in self.rows],
            "differences": [asdict(one) for one in self.differences],
            "invalid": list(self.invalid),
            "remarks": list(self.remarks),
        }

    def to_json(self) -> bytes:
        """As indented JSON with a newline at its end."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _row(row: Row) -> dict[str, Any]:
    return {
        "measure": row.measure.name,
        "unit": row.measure.unit.value,
        "by": "ratio" if row.measure.by_ratio else "difference",
        "gate": row.is_gate,
        "standing": row.standing.value if row.standing is not None else None,
        "change_that_matters": row.change if row.is_gate else None,
        "baseline": list(row.baseline),
        "new": list(row.new),
        "middle": {"baseline": row.middle_baseline, "new": row.middle_new},
        "effect": asdict(row.effect) if row.effect is not None else None,
        "p": row.p,
        "p_corrected": row.p_corrected,
        "limits": list(row.limits) if row.limits is not None else None,
        "remark": row.remark,
    }

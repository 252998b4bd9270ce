"""The small language of goals: `prompts.latency.p95 < 30s`.

A goal is a measure, a comparison and a value in the measure's unit. Every name there is stands in `MEASURES`; a name
that does not is refused with the nearest one that does.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from comfysoak_core.codes import Code
from comfysoak_core.scenario.quantities import format_duration, format_size, parse_duration, parse_ratio, parse_size

DEFAULT_GOALS = ("prompts.failed < 1%", "findings.critical = 0")


class Unit(StrEnum):
    """What a measure counts in."""

    RATIO = "share"
    SECONDS = "s"
    BYTES = "bytes"
    COUNT = "count"
    PER_MINUTE = "per minute"
    PER_HOUR = "per hour"

    def parse(self, text: str) -> float:
        """The value of `text` in base units; ValueError with an example when it is no such value."""
        if self is Unit.RATIO:
            return parse_ratio(text)
        if self is Unit.SECONDS:
            return parse_duration(text)
        if self is Unit.BYTES:
            return float(parse_size(text))
        bare = _SUFFIX[self].sub("", text.strip()) if self in _SUFFIX else text.strip()
        try:
            number = float(bare)
        except ValueError:
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(f"expected a number such as {_EXAMPLE[self]}, got {text!r}")
        return number

    def show(self, value: float) -> str:
        """`value` for a reader."""
        if self is Unit.RATIO:
            return f"{value * 100:.3g} %"
        if self is Unit.SECONDS:
            return format_duration(value)
        if self is Unit.BYTES:
            return format_size(value)
        return f"{value:.4g}" + {Unit.PER_MINUTE: " /min", Unit.PER_HOUR: " /h"}.get(self, "")


_SUFFIX = {Unit.PER_MINUTE: re.compile(r"\s*/\s*min$"), Unit.PER_HOUR: re.compile(r"\s*/\s*h$")}
_EXAMPLE = {
    Unit.RATIO: "1%",
    Unit.SECONDS: "30s",
    Unit.BYTES: "20 GiB",
    Unit.COUNT: "0",
    Unit.PER_MINUTE: "12/min",
    Unit.PER_HOUR: "2/h",
}
_STATISTICS = ("p50", "p90", "p95", "p99", "max", "mean")

MEASURES: dict[str, Unit] = {
    "prompts.count": Unit.COUNT,
    "prompts.failed": Unit.RATIO,
    "prompts.cached": Unit.RATIO,
    "prompts.per_minute": Unit.PER_MINUTE,
    **{f"prompts.latency.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"prompts.service.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"prompts.queue_wait.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"prompts.fetch.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    "sessions.dropped": Unit.RATIO,
    "sessions.drops": Unit.COUNT,
    "sessions.drops_per_hour": Unit.PER_HOUR,
    "server.queue.max": Unit.COUNT,
    "server.answer.p99": Unit.SECONDS,
    "gpu.memory.max": Unit.BYTES,
    "gpu.memory.max_share": Unit.RATIO,
    "gpu.utilisation.mean": Unit.RATIO,
    "capacity.users": Unit.COUNT,
    "capacity.per_minute": Unit.PER_MINUTE,
    "findings.critical": Unit.COUNT,
    "findings.warning": Unit.COUNT,
    **{f"failures.{code}": Unit.COUNT for code in Code},
}

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_GOAL = re.compile(r"\s*([A-Za-z_.0-9]+)\s*(<=|>=|==|=|<|>)\s*(.+?)\s*")


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal; `value` is in the base unit of its measure."""

    text: str
    measure: str
    comparison: str
    value: float
    unit: Unit

    def holds(self, measured: float) -> bool:
        """Whether `measured`, in the same unit, meets the goal."""
        return COMPARISONS[self.comparison](measured, self.value)


def parse_goal(text: str) -> Goal:
    """The goal `text` states; ValueError saying what was expected and what came."""
    match = _GOAL.fullmatch(text)
    if match is None:
        raise ValueError(f'expected a goal such as "prompts.latency.p95 < 30s", got {text!r}')
    measure, comparison, written = match[1], match[2].replace("==", "="), match[3]
    unit = MEASURES.get(measure)
    if unit is None:
        raise ValueError(f"there is no measure {measure!r}{_nearest(measure)}")
    return Goal(text.strip(), measure, comparison, unit.parse(written), unit)


def of_prompts(goals: Iterable[str]) -> tuple[str, ...]:
    """Those about prompts, which can be judged for a part of a run by itself."""
    return tuple(goal for goal in goals if goal.strip().startswith("prompts."))


def _nearest(measure: str) -> str:
    close = difflib.get_close_matches(measure, MEASURES, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; docs/scenario.md lists all of them"

"""The small language of goals: `prompts.latency.p95{workflow=sdxl} < 30s`.

A goal is a measure, perhaps filters in braces, a comparison and a value in the measure's unit. Every name there is
stands in `MEASURES` and `FILTERS`; a name that does not is refused with the nearest one that does.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from comfysoak_core.codes import Code
from comfysoak_core.scenario.frozen import Frozen
from comfysoak_core.scenario.quantities import (
    format_duration,
    format_ratio,
    format_size,
    parse_duration,
    parse_ratio,
    parse_size,
)

DEFAULT_GOALS = ("prompts.failed < 1%", "findings.critical = 0")


class Unit(StrEnum):
    """What a measure counts in."""

    RATIO = "share"
    SECONDS = "s"
    BYTES = "bytes"
    COUNT = "count"
    PER_MINUTE = "per minute"
    PER_HOUR = "per hour"
    BYTES_PER_HOUR = "bytes per hour"
    PER_KWH = "per kWh"
    WATTS = "W"
    CELSIUS = "°C"

    def parse(self, text: str) -> float:
        """The value of `text` in base units; ValueError with an example when it is no such value."""
        if self is Unit.RATIO:
            return parse_ratio(text)
        if self is Unit.SECONDS:
            return parse_duration(text)
        if self is Unit.BYTES:
            return float(parse_size(text))
        if self is Unit.BYTES_PER_HOUR:
            return float(parse_size(_SUFFIX[Unit.PER_HOUR].sub("", text.strip())))
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
            return format_ratio(value)
        if self is Unit.SECONDS:
            return format_duration(value)
        if self is Unit.BYTES:
            return format_size(value)
        if self is Unit.BYTES_PER_HOUR:
            return f"{'-' if value < 0 else ''}{format_size(abs(value))}/h"
        return f"{value:{',.0f' if abs(value) >= 1000 else '.4g'}}{_SHOWN.get(self, '')}"


_SHOWN = {
    Unit.PER_MINUTE: " /min",
    Unit.PER_HOUR: " /h",
    Unit.PER_KWH: " /kWh",
    Unit.WATTS: " W",
    Unit.CELSIUS: " °C",
}
_SUFFIX = {
    Unit.PER_MINUTE: re.compile(r"\s*/\s*min$"),
    Unit.PER_HOUR: re.compile(r"\s*/\s*h$"),
    Unit.PER_KWH: re.compile(r"\s*/\s*kWh$", re.IGNORECASE),
    Unit.WATTS: re.compile(r"\s*W$", re.IGNORECASE),
    Unit.CELSIUS: re.compile(r"\s*(°\s*)?C$", re.IGNORECASE),
}
_EXAMPLE = {
    Unit.RATIO: "1%",
    Unit.SECONDS: "30s",
    Unit.BYTES: "20 GiB",
    Unit.COUNT: "0",
    Unit.PER_MINUTE: "12/min",
    Unit.PER_HOUR: "2/h",
    Unit.BYTES_PER_HOUR: "50 MiB/h",
    Unit.PER_KWH: "400/kWh",
    Unit.WATTS: "300 W",
    Unit.CELSIUS: "83 °C",
}
_STATISTICS = ("p50", "p90", "p95", "p99", "max", "mean")

MEASURES: dict[str, Unit] = {
    "prompts.count": Unit.COUNT,
    "prompts.failed": Unit.RATIO,
    "prompts.cached": Unit.RATIO,
    "prompts.per_minute": Unit.PER_MINUTE,
    "prompts.good_per_minute": Unit.PER_MINUTE,
    "prompts.per_gpu_hour": Unit.PER_HOUR,
    "prompts.per_kwh": Unit.PER_KWH,
    **{f"prompts.latency.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"prompts.service.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    "prompts.typical_service": Unit.SECONDS,
    **{f"prompts.queue_wait.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"prompts.fetch.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"nodes.time.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    **{f"models.load.{statistic}": Unit.SECONDS for statistic in _STATISTICS},
    "models.loads_per_prompt": Unit.COUNT,
    "sessions.dropped": Unit.RATIO,
    "sessions.drops": Unit.COUNT,
    "sessions.drops_per_hour": Unit.PER_HOUR,
    "sessions.silence.max": Unit.SECONDS,
    "server.queue.max": Unit.COUNT,
    "server.queue.mean": Unit.COUNT,
    "server.answer.p99": Unit.SECONDS,
    "server.memory.max": Unit.BYTES,
    "server.memory.leak": Unit.BYTES_PER_HOUR,
    "gpu.memory.leak": Unit.BYTES_PER_HOUR,
    "gpu.memory.max": Unit.BYTES,
    "gpu.memory.max_share": Unit.RATIO,
    "gpu.utilisation.mean": Unit.RATIO,
    "gpu.utilisation.while_queued": Unit.RATIO,
    "gpu.power.mean": Unit.WATTS,
    "gpu.temperature.max": Unit.CELSIUS,
    "reliability.failures": Unit.COUNT,
    "reliability.per_1000_gpu_hours": Unit.COUNT,
    "reliability.recovery.max": Unit.SECONDS,
    "capacity.users": Unit.COUNT,
    "capacity.per_minute": Unit.PER_MINUTE,
    "findings.critical": Unit.COUNT,
    "findings.warning": Unit.COUNT,
    **{f"failures.{code}": Unit.COUNT for code in Code},
}


class By(StrEnum):
    """What a measure can be narrowed down to."""

    WORKFLOW = "workflow"
    PHASE = "phase"
    SERVER = "server"
    MODEL = "model"  # of prompts `cold`, `warm` or `cached`: whether a model was loaded for them
    NODE = "node"  # a class of node
    CODE = "code"
    ROLE = "role"  # of sockets: `user`, `watcher`, ...
    GPU = "gpu"  # its uuid, or its index


MODEL_STATES = ("cold", "warm", "cached")
FILTERS: dict[str, tuple[By, ...]] = {
    "prompts": (By.WORKFLOW, By.PHASE, By.SERVER, By.MODEL),
    "nodes": (By.NODE, By.WORKFLOW, By.SERVER),
    "models": (By.SERVER,),
    "sessions": (By.SERVER, By.CODE, By.ROLE),
    "server": (By.SERVER,),
    "gpu": (By.GPU, By.SERVER),
    "reliability": (By.SERVER,),
}

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_GOAL = re.compile(r"\s*([A-Za-z_.0-9]+)\s*(?:\{([^{}]*)\})?\s*(<=|>=|==|=|<|>)\s*(.+?)\s*")
_FILTER = re.compile(r"""\s*([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^,"']+?))\s*(?:,|$)""")
_EXAMPLE_GOAL = '"prompts.latency.p95 < 30s" or "prompts.latency.p95{workflow=sdxl} < 30s"'


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal; `value` is in the base unit of its measure, `filters` narrow down what it is measured on."""

    text: str
    measure: str
    comparison: str
    value: float
    unit: Unit
    filters: tuple[tuple[By, str], ...] = ()

    def holds(self, measured: float) -> bool:
        """Whether `measured`, in the same unit, meets the goal."""
        return COMPARISONS[self.comparison](measured, self.value)


class AbortGoal(Frozen):
    """A goal that ends the run once it is missed for sure, but not before so much load."""

    goal: str
    after_s: float


class Accepted(Frozen):
    """A finding that is known: until the end of a day it weighs nothing in the verdict."""

    finding: Code
    reason: str
    until: date


def parse_goal(text: str) -> Goal:
    """The goal `text` states; ValueError saying what was expected and what came."""
    match = _GOAL.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a goal such as {_EXAMPLE_GOAL}, got {text!r}")
    measure, filters, comparison, written = match[1], match[2], match[3].replace("==", "="), match[4]
    unit = MEASURES.get(measure)
    if unit is None:
        raise ValueError(
            f"there is no measure {measure!r}{_nearest(measure, MEASURES, '; docs/scenario.md lists all of them')}"
        )
    chosen = _filters(measure, filters) if filters is not None else ()
    return Goal(text.strip(), measure, comparison, unit.parse(written), unit, chosen)


def _filters(measure: str, written: str) -> tuple[tuple[By, str], ...]:
    """`workflow=sdxl, phase="the peak"` as pairs."""
    known = FILTERS.get(measure.partition(".")[0], ())
    found: dict[By, str] = {}
    at = 0
    while at < len(written.rstrip()):
        match = _FILTER.match(written, at)
        if match is None:
            raise ValueError(f"expected filters such as {{workflow=sdxl, phase=peak}}, got {{{written}}}")
        name, value = match[1], match[2] or match[3] or match[4] or ""
        if name not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"{measure} cannot be filtered by {name!r}; it takes: {listed}")
        if name in found:
            raise ValueError(f"{name!r} stands twice in {{{written}}}")
        if name == By.MODEL and value not in MODEL_STATES:
            raise ValueError(f"expected model to be {', '.join(MODEL_STATES)}, got {value!r}")
        found[By(name)] = value
        at = match.end()
    return tuple(found.items())


def unknown_names(goal: Goal, there: Mapping[By, Collection[str]]) -> str | None:
    """What a filter of `goal` names that is not `there`, with the nearest that is; None when all is well.

    Of what is not in `there` nothing is known yet, so every name may be right.
    """
    for by, name in goal.filters:
        if by in there and name not in there[by]:
            listed = ", ".join(sorted(there[by])[:8])
            return f"{goal.text!r}: there is no {by} {name!r}{_nearest(name, there[by], f'; there is: {listed}')}"
    return None


def of_prompts(goals: Iterable[str]) -> tuple[str, ...]:
    """Those about prompts, which can be judged for a part of a run by itself."""
    return tuple(goal for goal in goals if goal.strip().startswith("prompts."))


def _nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else otherwise

"""Gates: the few measures that decide a comparison, and by how much one must be worse to matter.

A measure is compared by its ratio, or by its difference where zero is a usual value (shares, counts, leaks). Shares
are told in percentage points.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from comfysoak_core.errors import UsageError
from comfysoak_core.scenario.goals import MEASURES, By, Unit, parse_goal
from comfysoak_core.scenario.quantities import parse_ratio

CHANGE = 0.05  # by ratio
_MIB = 1024 * 1024
# By difference: a worsening below this is none, however sure it is.
_LEAST = {Unit.RATIO: 0.01, Unit.COUNT: 0.0, Unit.BYTES_PER_HOUR: 10 * _MIB, Unit.CELSIUS: 5.0}
_ANY = {Unit.RATIO: "1%", Unit.SECONDS: "1s", Unit.BYTES: "1 GiB", Unit.BYTES_PER_HOUR: "1 GiB/h"}
_HIGHER_IS_BETTER = frozenset({
    "prompts.per_minute", "prompts.good_per_minute", "prompts.per_gpu_hour", "prompts.per_kwh", "capacity.users",
    "capacity.per_minute",
})  # fmt: skip
_NEITHER = frozenset({
    "prompts.count", "prompts.cached", "gpu.utilisation.mean", "gpu.utilisation.while_queued", "gpu.power.mean",
})  # fmt: skip
_WRITTEN = re.compile(r"\s*([A-Za-z_.0-9]+)\s*(\{[^{}]*\})?\s*(?:=\s*([^=]+?)\s*)?")


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of a run by its name, as goals write it: `prompts.latency.p95{workflow=sdxl}`."""

    name: str
    base: str
    unit: Unit
    filters: tuple[tuple[By, str], ...] = ()

    @property
    def by_ratio(self) -> bool:
        """Whether it is compared by ratio, and not by difference."""
        return self.unit not in _LEAST

    @property
    def worse(self) -> int:
        """1: higher is worse; -1: lower is; 0: neither says anything."""
        return 0 if self.base in _NEITHER else -1 if self.base in _HIGHER_IS_BETTER else 1


@dataclass(frozen=True, slots=True)
class Gate:
    """A measure that decides, and how much worse it must be: a share of it by ratio, else in its unit."""

    measure: Measure
    change: float


def parse_measure(text: str) -> Measure:
    """The measure of this name, perhaps with filters; ValueError, with the nearest there is, for one that is not."""
    base = text.partition("{")[0].strip()
    goal = parse_goal(f"{text} >= {_ANY.get(MEASURES.get(base, Unit.COUNT), '1')}")
    written = ", ".join(f"{by}={_quoted(value)}" for by, value in goal.filters)
    return Measure(f"{goal.measure}{{{written}}}" if written else goal.measure, goal.measure, goal.unit, goal.filters)


def of_workflow(base: str, workflow: str) -> Measure:
    """The measure `base` of one workflow."""
    return Measure(f"{base}{{workflow={_quoted(workflow)}}}", base, MEASURES[base], ((By.WORKFLOW, workflow),))


def parse_gate(text: str) -> Gate:
    """`prompts.latency.p95`, or with how much worse matters: `prompts.latency.p95=10%`. UsageError for what is none."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise UsageError(f'expected a gate such as "prompts.latency.p95=5%", got {text!r}', _REMEDY)
    try:
        measure = parse_measure(f"{match[1]}{match[2] or ''}")
        change = _default(measure) if match[3] is None else _change(measure, match[3])
    except ValueError as error:
        raise UsageError(f"--gate {text}: {error}", _REMEDY) from None
    if not measure.worse:
        raise UsageError(f"--gate {text}: more or less of {measure.base} is neither better nor worse", _REMEDY)
    return Gate(measure, change)


_REMEDY = "For example --gate prompts.latency.p95=5%; docs/scenario.md lists all measures."


def _change(measure: Measure, written: str) -> float:
    return parse_ratio(written) if measure.by_ratio else measure.unit.parse(written)


def _default(measure: Measure) -> float:
    return CHANGE if measure.by_ratio else _LEAST[measure.unit]


def _quoted(value: str) -> str:
    return value if re.fullmatch(r"[A-Za-z0-9_.:/-]+", value) else f'"{value}"'


DEFAULT_GATES = tuple(parse_gate(text) for text in ("prompts.failed", "prompts.latency.p95", "prompts.typical_service"))
"""What decides when nobody says otherwise. Three: of five runs a side a fourth would cost a twentieth of what is found.

Throughput is not among them: in closed load it says the same as latency, in open load it is what was asked for.
"""

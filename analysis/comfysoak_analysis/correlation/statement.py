"""One statement about two things that go together: how strongly, how sure, of how many cases, and in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from comfysoak_analysis.statistics.change import Change
from comfysoak_analysis.statistics.series import NORMAL_95, Floats, memory_of
from comfysoak_analysis.statistics.together import Lagged, Lift
from comfysoak_core.scenario.quantities import format_duration


class Kind(StrEnum):
    """What the effect is."""

    LIFT = "lift"  # how many times as often in a state as out of it
    CORRELATION = "correlation"  # of changes, -1 to 1
    STEP = "step"  # how many times as long after a moment as before it


@dataclass(frozen=True, slots=True)
class Statement:
    """`effect` lies within `low` and `high` (95 %); `p` is corrected for all that was looked for in the run.

    `lag_s` is how long after the change of `beside` the one of `about` comes; 0 for a lift and a step.
    """

    about: str  # "failures", "drops", "throughput", "service time of ..."
    beside: str
    kind: Kind
    effect: float
    low: float
    high: float
    lag_s: float
    p: float
    cases: int
    words: str

    @property
    def confidence(self) -> float:
        """That it is no chance, after all that was looked for."""
        return 1 - self.p

    @property
    def effect_text(self) -> str:
        """For a table: `17 times`, or `-0.62`."""
        return f"{self.effect:.2f}" if self.kind is Kind.CORRELATION else f"{_times(self.effect)} times"

    @property
    def interval_text(self) -> str:
        """The 95 % interval for a table."""
        if self.kind is Kind.CORRELATION:
            return f"{self.low:.2f} to {self.high:.2f}"
        return f"{_times(self.low)} to {_times(self.high)}"

    @property
    def confidence_text(self) -> str:
        """In percent, never 100."""
        return "over 99.9 %" if self.p < 0.001 else f"{100 * self.confidence:.1f} %"


def of_lift(about: str, beside: str, found: Lift, p: float) -> Statement:
    """Says `7 of 9 failures came while VRAM was over 95 % or within 2 s after; by chance 0.4 would`."""
    words = (
        f"{found.hits:,} of {found.cases:,} {about} came {beside}; by chance {found.expected:.2g} would. "
        f"That is {_times(found.ratio)} times as often as otherwise "
        f"(95 % interval {_times(found.low)} to {_times(found.high)})."
    )
    return Statement(about, beside, Kind.LIFT, found.ratio, found.low, found.high, 0.0, p, found.cases, words)


def of_lag(about: str, beside: str, found: Lagged, p: float) -> Statement:
    """Says `When clocks fall, throughput falls 2 s later: their changes correlate by 0.62 over 80 changes`."""
    error = NORMAL_95 / math.sqrt(max(found.points - 3, 1))
    middle = math.atanh(min(max(found.correlation, -0.999), 0.999))
    low, high = math.tanh(middle - error), math.tanh(middle + error)
    when = f"{format_duration(found.lag_s)} later" if found.lag_s > 0 else "at the same time"
    verb = "falls" if about == "throughput" else "rise"
    words = (
        f"When {beside}, {about} {verb} {when}: their changes correlate by {found.correlation:.2f} over "
        f"{found.points:,} changes; by chance it would be within {found.chance:.2f} either way."
    )
    return Statement(about, beside, Kind.CORRELATION, found.correlation, low, high, found.lag_s, p, found.points, words)


def of_step(about: str, moment: pd.Timestamp, found: Change, sides: tuple[Floats, Floats], p: float) -> Statement:
    """Says `Service time of sdxl on ... rose to 1.4 times at 03:12:20, from 4.1 s to 5.8 s`; values are logarithms."""
    first, second = sides
    step = found.after - found.before
    error = NORMAL_95 * math.sqrt(sum(float(side.var()) * memory_of(side - side.mean()) / side.size for side in sides))
    before_s, after_s = (math.exp(float(np.median(side))) for side in sides)
    at = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    verb = "rose" if step > 0 else "fell"
    words = (
        f"{about[0].upper()}{about[1:]} {verb} to {_times(math.exp(step))} times at {at}, from "
        f"{before_s:,.3g} s to {after_s:,.3g} s, at the same load and with the same models. Look for what began then."
    )
    low, high = math.exp(step - error), math.exp(step + error)
    return Statement(about, at, Kind.STEP, math.exp(step), low, high, 0.0, p, first.size + second.size, words)


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"

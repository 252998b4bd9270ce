"""How much load there is over a stage: a level (users, or prompts per second) as a pure function of time.

Every shape answers the same three questions: its level at a moment, how much of it has gone by until then (for
arrivals: how many prompts are due), and when that amount is reached. All times are seconds since the stage began.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from comfysoak_core.scenario.frozen import Frozen

_HALVINGS = 60  # to the precision of a float


class _Curve(Frozen, ABC):
    """One shape; levels are never negative."""

    LEVELS: ClassVar[tuple[str, str]]  # its two fields that are levels

    @property
    def highest(self) -> float:
        """The highest level it reaches."""
        levels: list[float] = [getattr(self, name) for name in self.LEVELS]
        return max(levels)

    @abstractmethod
    def at(self, elapsed_s: float, duration_s: float) -> float:
        """The level at `elapsed_s` of a stage that lasts `duration_s`."""

    @abstractmethod
    def amount(self, elapsed_s: float, duration_s: float) -> float:
        """The integral of the level from 0 to `elapsed_s`: level times seconds."""

    def scaled(self, factor: float, *, whole: bool = False) -> Self:
        """The same shape with all levels times `factor`; `whole` rounds them, and keeps at least 1 of what is not 0."""
        return self.model_copy(update={name: _times(getattr(self, name), factor, whole) for name in self.LEVELS})

    def stretched(self, factor: float) -> Self:  # noqa: ARG002  # what follows the stage's length has nothing to change
        """The same shape over a stage `factor` times as long: as many waves or spikes as before."""
        return self

    @abstractmethod
    def __str__(self) -> str: ...

    def moment(self, amount: float, duration_s: float) -> float | None:
        """When the integral reaches `amount`; None when the stage is over before that."""
        if not 0 <= amount < self.amount(duration_s, duration_s):
            return None
        low, high = 0.0, duration_s
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.amount(middle, duration_s) <= amount:
                low = middle
            else:
                high = middle
        return low


class Line(_Curve):
    """From one level to another in a straight line; the same twice is a hold."""

    LEVELS: ClassVar = ("start", "end")

    kind: Literal["line"] = "line"
    start: float
    end: float

    @classmethod
    def level(cls, level: float) -> Self:
        """A hold."""
        return cls(start=level, end=level)

    def at(self, elapsed_s: float, duration_s: float) -> float:
        """On the line."""
        return self.start + (self.end - self.start) * _share(elapsed_s, duration_s)

    def amount(self, elapsed_s: float, duration_s: float) -> float:
        """Under the line."""
        return (self.start + (self.at(elapsed_s, duration_s) - self.start) / 2) * elapsed_s

    def moment(self, amount: float, duration_s: float) -> float | None:
        """Solved, not searched: it is what most arrivals ask."""
        if not 0 <= amount < self.amount(duration_s, duration_s):
            return None
        slope = (self.end - self.start) / duration_s
        gained = math.sqrt(2 * abs(slope)) * math.sqrt(amount)  # of level, were the start 0; squares would underflow
        if slope >= 0:
            reached = math.hypot(self.start, gained)
        else:
            reached = math.sqrt(max(self.start - gained, 0.0)) * math.sqrt(self.start + gained)
        sum_of_levels = self.start + reached
        return min(2 * amount / sum_of_levels, duration_s) if sum_of_levels else 0.0

    def __str__(self) -> str:
        return f"{self.start:.3g}" if self.start == self.end else f"{self.start:.3g} to {self.end:.3g}"


class Steps(_Curve):
    """From one level to another in `count` plateaus of equal length, the first at `start`, the last at `end`."""

    LEVELS: ClassVar = ("start", "end")

    kind: Literal["steps"] = "steps"
    start: float
    end: float
    count: int = Field(ge=2)

    def at(self, elapsed_s: float, duration_s: float) -> float:
        """The plateau's level."""
        return self._level(min(int(_share(elapsed_s, duration_s) * self.count), self.count - 1))

    def amount(self, elapsed_s: float, duration_s: float) -> float:
        """Whole plateaus, and the begun one."""
        lasts_s = duration_s / self.count
        number = min(int(elapsed_s / lasts_s), self.count - 1)
        whole = number * (self.start + self._level(number - 1)) / 2 * lasts_s  # their mean lies half way
        return whole + self._level(number) * (elapsed_s - number * lasts_s)

    def _level(self, number: int) -> float:
        return self.start + (self.end - self.start) * number / (self.count - 1)

    def __str__(self) -> str:
        return f"{self.start:.3g} to {self.end:.3g} in {self.count} steps"


class Spike(_Curve):
    """`base`, and every `every_s` for `lasts_s` up to `top` at once; the first spike comes half an `every_s` in."""

    LEVELS: ClassVar = ("base", "top")

    kind: Literal["spike"] = "spike"
    base: float
    top: float
    every_s: float = Field(gt=0)
    lasts_s: float = Field(gt=0)

    def at(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # does not depend on the length
        """Base or top."""
        return self.top if (elapsed_s - self._first_s) % self.every_s < self.lasts_s else self.base

    def amount(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # does not depend on the length
        """The base all along, and the height of the spikes for as long as they lasted."""
        return self.base * elapsed_s + (self.top - self.base) * self._spiked_s(elapsed_s)

    def stretched(self, factor: float) -> Self:
        """As many spikes, each longer."""
        return self.model_copy(update={"every_s": self.every_s * factor, "lasts_s": self.lasts_s * factor})

    @property
    def _first_s(self) -> float:
        return self.every_s / 2

    def _spiked_s(self, elapsed_s: float) -> float:
        """How long it has spiked until then; spikes at most `every_s` long do not overlap."""
        lasts_s = min(self.lasts_s, self.every_s)

        def until(since_s: float) -> float:  # since the start of a spike
            periods = math.floor(since_s / self.every_s)
            return periods * lasts_s + min(since_s - periods * self.every_s, lasts_s)

        return until(elapsed_s - self._first_s) - until(-self._first_s)

    def __str__(self) -> str:
        return f"{self.base:.3g} with spikes of {self.top:.3g}"


class Wave(_Curve):
    """Day and night: from `low` up to `high` and back in each `period_s`, as a cosine; it begins at `low`."""

    LEVELS: ClassVar = ("low", "high")

    kind: Literal["wave"] = "wave"
    low: float
    high: float
    period_s: float = Field(gt=0)

    def at(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # does not depend on the length
        """On the cosine."""
        middle, swing = (self.high + self.low) / 2, (self.high - self.low) / 2
        return middle - swing * math.cos(2 * math.pi * elapsed_s / self.period_s)

    def amount(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # does not depend on the length
        """Under the cosine."""
        middle, swing = (self.high + self.low) / 2, (self.high - self.low) / 2
        turn = 2 * math.pi / self.period_s
        return middle * elapsed_s - swing * math.sin(turn * elapsed_s) / turn

    def stretched(self, factor: float) -> Self:
        """As many waves, each longer."""
        return self.model_copy(update={"period_s": self.period_s * factor})

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g} in waves"


class Slice(_Curve):
    """The stretch of another shape from `from_s` on, where that shape goes over `whole_s`."""

    LEVELS: ClassVar = ("highest", "highest")  # it has none of its own

    kind: Literal["slice"] = "slice"
    of: Annotated[Line | Steps | Spike | Wave, Field(discriminator="kind")]
    from_s: float = Field(ge=0)
    whole_s: float = Field(gt=0)

    @property
    def highest(self) -> float:
        """That of the whole shape."""
        return self.of.highest

    def at(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # the whole shape's length counts
        """As the whole shape at that moment."""
        return self.of.at(self.from_s + elapsed_s, self.whole_s)

    def amount(self, elapsed_s: float, duration_s: float) -> float:  # noqa: ARG002  # the whole shape's length counts
        """What goes by of the whole shape meanwhile."""
        return self.of.amount(self.from_s + elapsed_s, self.whole_s) - self.of.amount(self.from_s, self.whole_s)

    def scaled(self, factor: float, *, whole: bool = False) -> Self:
        """The same stretch of the scaled shape."""
        return self.model_copy(update={"of": self.of.scaled(factor, whole=whole)})

    def stretched(self, factor: float) -> Self:
        """The same share of the stretched shape."""
        of, times = self.of.stretched(factor), {"from_s": self.from_s * factor, "whole_s": self.whole_s * factor}
        return self.model_copy(update={"of": of, **times})

    def __str__(self) -> str:
        return f"{self.of} from {self.from_s:.3g} s on"


Curve = Annotated[Line | Steps | Spike | Wave | Slice, Field(discriminator="kind")]


def _share(elapsed_s: float, duration_s: float) -> float:
    return 1.0 if duration_s <= 0 else min(max(elapsed_s / duration_s, 0.0), 1.0)


def _times(level: float, factor: float, whole: bool) -> float:  # noqa: FBT001  # one caller's flag, passed on
    if not whole:
        return level * factor
    return max(round(level * factor), 1) if level else 0

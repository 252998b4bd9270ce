"""A rate and how sure it is: hits of so many cases, their exact binomial interval, and the goal if there is one."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from benchmarks.figure import Figure

BEYOND = 0.025  # on either side of an interval of 95 %
FEWEST = 20  # cases
Case = TypeVar("Case")
Answer = TypeVar("Answer", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something was said. `at_most`, `at_least`: the goal, as a share; none where nobody set one.

    `plain_hits`: how often the plain way to do it said so of the same cases.
    """

    name: str
    hits: int
    cases: int
    at_most: float | None = None
    at_least: float | None = None
    plain: str | None = None
    plain_hits: int = 0

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share (Clopper and Pearson)."""
        from scipy.special import betaincinv

        hits, misses = self.hits, self.cases - self.hits
        low = float(betaincinv(hits, misses + 1, BEYOND)) if hits else 0.0
        return low, float(betaincinv(hits + 1, misses, 1 - BEYOND)) if misses else 1.0

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal, and where it is missed by no more than so few cases differ."""
        share, (low, high) = self.hits / self.cases, self.interval
        if self.at_most is not None:
            return True if share <= self.at_most else False if low > self.at_most else None
        if self.at_least is not None:
            return True if share >= self.at_least else False if high < self.at_least else None
        return None

    def figure(self) -> Figure:
        """In per cent, as the table shows it."""
        low, high = (100 * end for end in self.interval)
        return Figure(
            name=self.name,
            value=100 * self.hits / self.cases,
            unit="%",
            goal=self._goal(),
            met=self.met,
            peer=self.plain,
            peer_value=None if self.plain is None else 100 * self.plain_hits / self.cases,
            spread=f"95 %: {low:.1f} to {high:.1f} %",
            runs=self.cases,
        )

    def _goal(self) -> str | None:
        if self.at_most is not None:
            return f"at most {100 * self.at_most:g} %"
        return None if self.at_least is None else f"at least {100 * self.at_least:g} %"


def tally(
    of: str, cases: float, draw: Callable[[np.random.Generator], Case], says: Callable[[Case], Answer]
) -> Counter[Answer]:
    """What is said of so many cases (20 at least); each is drawn from a seed made of the name `of` and its number."""
    salt = zlib.crc32(of.encode())
    count = max(round(cases), FEWEST)
    return Counter(says(draw(np.random.default_rng([salt, number]))) for number in range(count))


def counted(
    name: str,
    cases: float,
    draw: Callable[[np.random.Generator], Case],
    says: Callable[[Case], bool],
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Rate:
    """How often it is said of the cases drawn."""
    told = tally(name, cases, draw, says)
    return Rate(name, told[True], told.total(), at_most, at_least)

"""The search for the highest load that holds: up in steps until it breaks, then between the two until they are close.

    search = Search(low=1, high=64, whole=True)
    while (trial := search.next) is not None:
        search.judge(held=..., sure=...)        # what a hold at trial.level showed
    search.found                                # highest that held, lowest that broke, whether that is a clean line

Pure: nobody sleeps or sends here. The highest level that held is held once more at the end; a capacity that cannot be
repeated is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TRIALS_MOST = 60  # a search by halves ends long before; a server of moods does not go on for ever


@dataclass(frozen=True, slots=True)
class Trial:
    """One level that is to be held; `again` when it is held for the second time."""

    number: int  # from 1
    level: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What a trial showed; not `sure` when there were too few prompts to tell and it was gone by what was seen."""

    trial: Trial
    held: bool
    sure: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The result. None: no level held, or none broke. Not `monotonic`: a level broke although a higher one held."""

    highest_held: float | None
    lowest_broke: float | None
    monotonic: bool
    sure: bool


class Search:
    """Between `low` and `high`, both included; ends when the two sides are within a share `within` of each other.

    Each step up is `factor` times the one before. `whole` for levels that are counted, as users are.
    """

    def __init__(self, *, low: float, high: float, factor: float = 2.0, within: float = 0.1, whole: bool) -> None:
        if not 0 < low <= high or factor <= 1 or within <= 0:
            raise ValueError(f"expected 0 < low <= high, a factor over 1 and a share over 0: {low}, {high}, {factor}")
        self._low, self._high = low, high
        self._factor, self._within = factor, within
        self._whole = whole
        self.judged: list[Judged] = []
        self.next: Trial | None = Trial(1, low)

    def judge(self, *, held: bool, sure: bool) -> None:
        """What the hold at `next.level` showed."""
        if self.next is None:
            raise ValueError("the search has ended")
        self.judged.append(Judged(self.next, held, sure))
        level = self._level_after()
        number = len(self.judged) + 1
        if level is None or number > TRIALS_MOST:
            self.next = None
        else:
            self.next = Trial(number, level, again=any(done.trial.level == level for done in self.judged))

    @property
    def found(self) -> Found:
        """The result so far."""
        return found_by(self.judged)

    def _level_after(self) -> float | None:
        """The level to hold next; None when the question is decided."""
        found = self.found
        held, broke = found.highest_held, found.lowest_broke
        if held is None:
            return None  # the lowest level broke: there is nothing below it to try
        level = self._above(held) if broke is None else self._between(held, broke)
        if level is not None:
            return level
        held_again = sum(done.trial.level == held for done in self.judged) > 1
        return None if held_again else held

    def _above(self, held: float) -> float | None:
        return None if held >= self._high else self._rounded(min(held * self._factor, self._high), held)

    def _between(self, held: float, broke: float) -> float | None:
        """The geometric middle; None when there is nothing between them that is worth a trial."""
        if broke <= held * (1 + self._within):
            return None
        middle = math.sqrt(held * broke)
        if not self._whole:
            return middle
        level = self._rounded(middle, held)
        return level if held < level < broke else None

    def _rounded(self, level: float, above: float) -> float:
        return max(round(level), math.floor(above) + 1) if self._whole else level


def found_by(judged: Sequence[Judged]) -> Found:
    """What these trials show together."""
    broken = [done for done in judged if not done.held]
    lowest = min((done.trial.level for done in broken), default=None)
    holding = [done for done in judged if done.held]
    below = [done for done in holding if lowest is None or done.trial.level < lowest]
    highest = max((done.trial.level for done in below), default=None)
    at_the_line = [done for done in judged if done.trial.level in {highest, lowest}]
    return Found(highest, lowest, len(below) == len(holding), all(done.sure for done in at_the_line))

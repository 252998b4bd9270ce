"""What a search for capacity found: each level that was held, whether the goals held there, and where the line lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from comfysoak_core.scenario.search import Found, Judged, Trial, found_by
from comfysoak_core.scenario.stage import level_in_words


@dataclass(frozen=True, slots=True)
class Held:
    """One trial; `held` is None when it was not judged before the run ended."""

    phase: str
    level: float
    again: bool
    held: bool | None
    sure: bool
    why: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """One search; `unit` is `USERS` or `ARRIVALS`, levels are users or prompts a second."""

    unit: str
    trials: tuple[Held, ...]
    found: Found

    @property
    def measured_phases(self) -> frozenset[str]:
        """The phases whose prompts stand for the run: of the highest level that held, else of the lowest tried."""
        level = self.found.highest_held
        if level is None:
            level = min((trial.level for trial in self.trials), default=None)
        return frozenset(trial.phase for trial in self.trials if trial.level == level)

    @property
    def sentence(self) -> str:
        """The result in words."""
        highest, lowest = self.found.highest_held, self.found.lowest_broke
        if highest is None:
            return f"Not even {self.told(lowest)} held." if lowest is not None else "No level was judged."
        said = f"The goals held up to {self.told(highest)}"
        said += f" and broke at {self.told(lowest)}." if lowest is not None else ", the highest level asked for."
        if not self.found.monotonic:
            said += " The line is not clean: a level broke although a higher one had held."
        if not self.found.sure:
            said += " There were too few prompts to be sure of it: hold each level longer."
        return said

    def told(self, level: float) -> str:
        """A level for a reader."""
        return level_in_words(level, self.unit)


def capacities(trials: pd.DataFrame) -> tuple[Capacity, ...]:
    """The searches of a run, from its table of trials."""
    return tuple(_capacities(trials))


def _capacities(trials: pd.DataFrame) -> Iterator[Capacity]:
    if trials.empty:
        return
    stages = trials["id"].str.partition("/")[0]
    for _, rows in trials.sort_values("began").groupby(stages, sort=False):
        held = tuple(_held(row) for _, row in rows.iterrows())
        judged = [
            Judged(Trial(number, one.level, one.again), held=one.held, sure=one.sure)
            for number, one in enumerate(held, 1)
            if one.held is not None
        ]
        yield Capacity(str(rows["unit"].iloc[0]), held, found_by(judged))


def _held(row: pd.Series) -> Held:
    held = None if pd.isna(row["held"]) else bool(row["held"])
    sure = not pd.isna(row["sure"]) and bool(row["sure"])
    return Held(str(row["phase"]), float(row["level"]), bool(row["again"]), held, sure, str(row["why"] or ""))

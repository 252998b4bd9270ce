"""How a run goes through its stages: which is on, how far its load has got, how many users there should be, the end.

    course = Course(plan.stages, patience_s=plan.patience_s, max_duration_s=plan.max_duration_s)
    now = course.at(Facts(now_s, idle, errands_done))      # a few times a second; None: all is over
    if now.turn != before.turn: tell all processes; begin now.errand

Pure, and nothing in it grows: a soak of days asks it a million times.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from comfysoak_core.scenario.parts import ColdStartPart, DrainPart, Facts, LoadPart, Now, Over, Part
from comfysoak_core.scenario.plan import LAST_PATIENCE_S
from comfysoak_core.scenario.search_part import SearchPart
from comfysoak_core.scenario.stage import Stage


def part_of(stages: Sequence[Stage], number: int, began_s: float, errands: Iterator[int], *, patience_s: float) -> Part:
    """Stage `number`, as it is gone through; `errands` numbers what it sends out."""
    stage = stages[number]
    if stage.cold_start is not None:
        return ColdStartPart(stage, stage.cold_start, number, began_s, errands, patience_s=patience_s)
    if stage.search is not None:
        name = f"search {number + 1}" if any(before.search is not None for before in stages[:number]) else ""
        return SearchPart(stage, stage.search, number, began_s, patience_s=patience_s, name=name)
    return LoadPart(stage, number, began_s, errands, patience_s=patience_s)


class Course:
    """The way of one run through `stages`, from 0 on the clock of the facts it is given.

    Open prompts have `patience_s` to end before a settle, a cold start and the end of the run. At `max_duration_s`
    nothing more is sent, whatever is on; `cut_short` tells that it came to that. No end waits beyond `LAST_PATIENCE_S`
    after that.
    """

    def __init__(self, stages: Sequence[Stage], *, patience_s: float, max_duration_s: float | None = None) -> None:
        self._stages = stages
        self._patience_s = patience_s
        self._max_duration_s = max_duration_s
        self._errands = itertools.count(1)
        self._number = -1
        self._part = self._next(0.0)
        self.cut_short = False

    def at(self, facts: Facts) -> Now | None:
        """What should be now; None once all is over."""
        if self._is_too_late(facts.now_s):
            self.cut_short = True
            self._part = self._drain(facts.now_s)
        found = self._part.at(facts)
        while isinstance(found, Over):
            if isinstance(self._part, DrainPart):
                return None
            self._part = self._next(found.at_s)
            found = self._part.at(facts)
        return found

    def _is_too_late(self, now_s: float) -> bool:
        limit_s = self._max_duration_s
        return limit_s is not None and now_s >= limit_s and not isinstance(self._part, DrainPart)

    def _next(self, began_s: float) -> Part:
        if self._number + 1 >= len(self._stages):
            return self._drain(began_s)
        self._number += 1
        return part_of(self._stages, self._number, began_s, self._errands, patience_s=self._patience_s)

    def _drain(self, began_s: float) -> Part:
        patience_s = self._patience_s
        if self._max_duration_s is not None:
            patience_s = min(patience_s, LAST_PATIENCE_S + max(self._max_duration_s - began_s, 0.0))
        number = max(self._number, 0)
        phase = self._stages[number].phase if self._stages else ""
        return DrainPart(number, phase, began_s, patience_s=patience_s)

"""The arrivals of one stage in one load process, and how far they have gone."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.arrivals import Arrival, arrival_offsets
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.trace.file import stored_arrivals


class Schedule:
    """Arrivals in the order they are due. What has been taken does not come again, however often a stage goes on."""

    def __init__(self, stage: Stage, name: str, room: int, arrivals: Iterator[Arrival]) -> None:
        self.stage = stage
        self.name = name  # of the random numbers its prompts are drawn with
        self.room = room  # so many prompts may be on their way
        self.count = 0  # of the next arrival
        self.zero_ns = 0
        self.until_s = math.inf
        self.phase: str | None = None  # its own, also when another one is on
        self._arrivals = arrivals
        self._next: Arrival | None = None
        self._reached_s = 0.0

    @property
    def next(self) -> Arrival | None:
        """The next arrival, which stays so until it is taken; None after the last."""
        if self._next is None:
            self._next = next(self._arrivals, None)
        return self._next

    @property
    def is_left(self) -> bool:
        """Whether there is an arrival to come before `until_s`."""
        return self.next is not None and self.next.offset_s < self.until_s

    def take(self) -> None:
        """The next arrival is dealt with. The one after it is looked for when somebody asks."""
        if self._next is not None:
            self._reached_s = self._next.offset_s
        self._next = None
        self.count += 1

    def goes_on(self, stage: Stage, from_s: float) -> bool:
        """Whether this is still it when `stage` is entered at an offset: not when the stage begins again."""
        return self.stage == stage and from_s > self._reached_s

    def due_ns(self, arrival: Arrival) -> int:
        """When an arrival is due, as far as the load clock has been stopped until now."""
        return self.zero_ns + round(arrival.offset_s * NS_PER_S)

    def end_at(self, now_ns: int) -> None:
        """What is not due by now is not to come, unless the stage goes on."""
        self.until_s = min(self.until_s, (now_ns - self.zero_ns) / NS_PER_S)

    def pass_over(self, until_s: float) -> None:
        """Take all arrivals before an offset: they were another process's."""
        while (first := self.next) is not None and first.offset_s < until_s:
            self.take()


def arrivals_of(stage: Stage, run_dir: Path, seed: str, *, part: int, parts: int) -> Iterator[Arrival] | None:
    """The arrivals of a stage in one of the processes that share it, by their offset; None for closed load.

    RecordingError, when the first is asked for, where the stage replays a trace that is not in `run_dir`.
    """
    if stage.replay is not None:
        until_s = stage.duration_s
        replayed = stored_arrivals(stage.replay, run_dir, part=part, parts=parts)
        return itertools.takewhile(lambda arrival: arrival.offset_s < until_s, replayed)
    if stage.arrivals is None:
        return None
    rate, spacing, numbers = stage.arrivals.rate_per_s, stage.arrivals.process, random.Random(f"{seed}/arrivals")
    return map(Arrival, arrival_offsets(stage.duration_s, rate, spacing, numbers, part=part, parts=parts))

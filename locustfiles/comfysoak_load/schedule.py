"""The arrivals of one stage in one load process, and how far they have gone."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.arrivals import Arrival, arrival_offsets
from comfysoak_core.scenario.stage import Stage

if TYPE_CHECKING:
    from comfysoak_load.load_process import LoadProcess


class Schedule:
    """Arrivals in the order they are due. What has been taken does not come again, however often a stage goes on."""

    def __init__(self, number: int, name: str, room: int, arrivals: Iterator[Arrival]) -> None:
        self.number = number  # of the stage
        self.name = name  # of the random numbers its prompts are drawn with
        self.room = room  # so many prompts may be on their way
        self.count = 0  # of the next arrival
        self.zero_ns = 0
        self.until_s = math.inf
        self._arrivals = arrivals
        self._next: Arrival | None = None

    @property
    def next(self) -> Arrival | None:
        """The next arrival, which stays so until it is taken; None after the last."""
        if self._next is None:
            self._next = next(self._arrivals, None)
        return self._next

    def take(self) -> None:
        """The next arrival is dealt with. The one after it is looked for when somebody asks."""
        self._next = None
        self.count += 1

    def due_ns(self, arrival: Arrival) -> int:
        """When an arrival is due, as far as the load clock has been stopped until now."""
        return self.zero_ns + round(arrival.offset_s * NS_PER_S)


def schedule_of(
    process: LoadProcess, stage: Stage, number: int, part: int, parts: int, from_s: float
) -> Schedule | None:
    """The schedule of a stage for one of the processes that share it, from an offset on; None for closed load."""
    if stage.arrivals is None:
        return None
    seed = f"{process.plan.seed}/arrivals/{number}/{part}"
    arrivals = stage.arrivals
    offsets = arrival_offsets(
        stage.duration_s, arrivals.rate_per_s, arrivals.process, random.Random(seed), part=part, parts=parts
    )
    schedule = Schedule(number, f"{number}/{part}", max(arrivals.in_flight_most // parts, 1), map(Arrival, offsets))
    while (first := schedule.next) is not None and first.offset_s < from_s:
        schedule.take()
    return schedule

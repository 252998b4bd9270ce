"""One search for the processes of servers serves all who ask for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from comfysoak_probes.processes.listeners import Held, Place, holders

NOBODY_FOR_S = 2.0  # nobody, or nobody we may see: true for so long


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and when; `born` tells the process from a later one with its id."""

    held: Held
    at_s: float
    born: float | None

    def holds(self, now_s: float) -> bool:
        """Whether there is no need to look again: the process lives, or nobody was there a moment ago."""
        if self.born is None:
            return now_s - self.at_s < NOBODY_FOR_S
        return born(self.held.pids[0]) == self.born


class Search:
    """Remembers who holds which place; may be asked by several threads (two at once may both look, which harms none).

    A look costs tens of milliseconds, more on hosts with thousands of processes, whether for one place or for all:
    so it is made for all that are due.
    """

    def __init__(
        self,
        look: Callable[[Sequence[Place]], dict[Place, Held]] = holders,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._now_s = now_s
        self._found: dict[Place, Found | None] = {}

    def holders(self, places: Sequence[Place]) -> dict[Place, Held]:
        """Who holds each of these places."""
        for place in places:
            self._found.setdefault(place, None)
        now_s = self._now_s()
        due = [place for place, found in list(self._found.items()) if found is None or not found.holds(now_s)]
        if not set(due).isdisjoint(places):
            for place, held in self._look(due).items():
                self._found[place] = Found(held, now_s, born(held.pids[0]) if held.pids else None)
        return {place: found.held for place in places if (found := self._found[place]) is not None}


def born(pid: int) -> float | None:
    """When a process began, in seconds; None when it has ended."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None

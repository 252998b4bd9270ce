"""The smallest fleet that meets the goal, and how far that number is sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from comfysoak_analysis.planning.model import INTERVAL, Model, Point, Replicate

BEYOND = 8  # so many times the least that could do; where that does not do, nothing will


@dataclass(frozen=True, slots=True)
class Needed:
    """`gpus` by the median of the replicates, `low` to `high` by 90 % of them; None where no size does it."""

    gpus: int | None
    low: int | None
    high: int | None
    tried: int  # the largest that was tried


class Sizes:
    """The points of one model, each simulated once."""

    def __init__(self, model: Model, replicates: Sequence[Replicate] | None = None) -> None:
        self.model = model
        self._replicates = replicates
        self._points: dict[int, Point] = {}

    def __getitem__(self, gpus: int) -> Point:
        """The point of this size."""
        if gpus not in self._points:
            self._points[gpus] = self.model.point(gpus, self._replicates)
        return self._points[gpus]

    @property
    def most(self) -> int:
        """The largest worth trying."""
        useful = self.model.most_useful_gpus
        return useful if useful is not None else self.model.least_gpus * BEYOND + BEYOND

    def is_met(self, gpus: int) -> bool:
        """Whether the goal is met by the median."""
        return self.model.wish.holds(self[gpus].value_s)

    def is_met_in(self, share: float, gpus: int) -> bool:
        """Whether it is met in at least this share of the replicates."""
        return self[gpus].met_share >= share


def needed(sizes: Sizes) -> Needed:
    """The size the goal needs."""
    most = sizes.most
    start = min(sizes.model.least_gpus, most)
    gpus = smallest(sizes.is_met, start, most)
    low, high = (smallest(partial(sizes.is_met_in, share), gpus or start, most) for share in INTERVAL)
    return Needed(gpus, low, high, most)


def smallest(is_met: Callable[[int], bool], start: int, most: int) -> int | None:
    """The smallest size from 1 to `most` that meets it, where all larger ones do; sought from `start`."""
    if not is_met(start):
        step, below = 1, start
        while below < most and not is_met(min(below + step, most)):
            below, step = min(below + step, most), step * 2
        if below >= most:
            return None
        return _between(is_met, below, min(below + step, most))
    while start > 1 and is_met(start - 1):
        start -= 1
    return start


def _between(is_met: Callable[[int], bool], below: int, enough: int) -> int:
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if is_met(middle) else (middle, enough)
    return enough

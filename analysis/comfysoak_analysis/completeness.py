"""Are the records complete? Little's law: prompts a second times the seconds each stays is the length of the queue.

The queue's length is read from the server itself, which knows nothing of our records; what our prompts' own times say
it was must be the same. Less: the queue held prompts that are not in the recording (others', or lost rows). More: ours
stayed somewhere that is not the server's queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.frames import Run
from comfysoak_analysis.statistics.series import NORMAL_95, Floats
from comfysoak_analysis.text import bounded
from comfysoak_analysis.verdict import Doubt, Weight

NEAR = 0.05  # of the queue
NEAR_S = 0.05  # a prompt: what a busy server takes between its queue and the messages that tell of it
FEW_PROMPTS = 100
SHORT_S = 0.4  # prompts that stay for less: what the network takes is no longer small beside it
BLOCKS, FEWEST_BLOCKS = 40, 10


@dataclass(frozen=True, slots=True)
class Explained:
    """How much of the queue of a server this run's prompts explain: `low` to `high` is the 95 % interval of `ratio`.

    Where some prompts' stay is not known, `low` is without them and `high` with all the time they may have stayed.
    """

    server: str
    ratio: float
    low: float
    high: float
    queue: float  # running and waiting, on average, as the server told it
    prompts: int
    near: float = NEAR  # how far from 1 it may be

    @property
    def is_less(self) -> bool:
        """Whether the queue held more than ours."""
        return self.high < 1 - self.near

    @property
    def is_more(self) -> bool:
        """Whether ours stayed elsewhere as well."""
        return self.low > 1 + self.near

    @property
    def is_complete(self) -> bool:
        """Whether it may well be all of the queue, and no more than it."""
        return not (self.is_less or self.is_more)

    @property
    def words(self) -> str:
        """In a sentence."""
        return (
            (
                f"{self.ratio:.1%} of the {self.queue:.3g} prompts that ran and waited on average "
                f"(95 % interval {self.low:.1%} to {self.high:.1%}), by the times of {self.prompts:,} prompts"
            )
            .replace("%", " %")
            .replace("95  %", "95 %")
        )


_OF_STAYS = ("scheduled", "started_at", "done_at", "queue_wait_s", "service_s", "intended")


def explained(run: Run) -> tuple[Explained, ...]:
    """Each server whose queue was read and that had at least 100 prompts of this run, of 0.4 s or more on average."""
    return run.once(_all_explained)


def _all_explained(run: Run) -> tuple[Explained, ...]:
    if run.prompts.empty:
        return ()
    tracks = run.tracks("server", ("queue_pending", "queue_running"), by="server")
    found, prompts = [], run.prompts[list(_OF_STAYS)]
    for server, columns in tracks.items():
        mine = prompts[(run.prompts["server"] == server).to_numpy()]
        told = columns["queue_pending"].mean + columns["queue_running"].mean
        one = _explained(run, server, mine, told, columns["queue_pending"].grid)
        if one is not None:
            found.append(one)
    return tuple(found)


def completeness_doubts(run: Run) -> Iterator[Doubt]:
    """Servers whose queue our prompts do not explain, or more than explain: one doubt for each, of all such servers."""
    found = explained(run)
    less = [one for one in found if one.is_less]
    more = [one for one in found if one.is_more]
    if less:
        what = f"{_at(less, len(found))}: the rest was somebody else's, or is missing in the recording."
        remedy = "See to it that nobody else sends prompts there during a run; else look for lost workers or rows."
        yield Doubt("completeness", Weight.CAUTION, what, remedy)
    if more:
        why = "ours stayed somewhere that is not the server's queue, or their ends were learnt late"
        what = f"{_at(more, len(found))}: {why}."
        remedy = "Look for what stands in front of the server (a gateway, a proxy), and at the generator's lag."
        yield Doubt("completeness", Weight.CAUTION, what, remedy)


def _at(doubted: Sequence[Explained], servers: int) -> str:
    """Where, and how far off; of several the one that is furthest off."""
    worst = max(doubted, key=lambda one: abs(math.log(max(one.ratio, 1e-9))))
    if len(doubted) == 1:
        return f"At {bounded(worst.server, 80)} the prompts of this run make up {worst.words}"
    return (
        f"At {len(doubted):,} of {servers:,} servers the prompts of this run do not make up the queue that was read, "
        f"at {bounded(worst.server, 80)} {worst.words}"
    )


def _explained(run: Run, server: str, prompts: pd.DataFrame, told: Floats, grid: Grid) -> Explained | None:
    read = np.isfinite(told)
    known, unknown = _stays(run, prompts)
    count = known[0].size
    stay_s = float((known[1] - known[0]).mean()) if count else 0.0
    if count < FEW_PROMPTS or stay_s < SHORT_S or read.sum() < FEWEST_BLOCKS:
        return None
    ours, perhaps = (_within(grid, *stays)[read] for stays in (known, unknown))
    told = told[read]
    if told.sum() <= 0:
        return None
    ratio, error = _ratio(ours, told)
    more = float(perhaps.sum() / told.sum())
    low, high = ratio - NORMAL_95 * error, ratio + more + NORMAL_95 * error
    return Explained(
        server, ratio + more / 2, max(low, 0.0), high, float(told.mean()), count, max(NEAR, NEAR_S / stay_s)
    )


def _stays(run: Run, prompts: pd.DataFrame) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """From when to when each stayed at the server: of those it is known of, and the most the others may have."""
    begun = run.since_start_s(prompts["started_at"])
    sent = begun - prompts["queue_wait_s"].to_numpy(dtype=float)
    ended = begun + prompts["service_s"].to_numpy(dtype=float)
    known = np.isfinite(sent) & np.isfinite(ended)
    due, done = (run.since_start_s(prompts[name]) for name in ("scheduled", "done_at"))
    others = ~known & prompts["intended"].to_numpy(dtype=bool) & np.isfinite(due) & np.isfinite(done)
    return (sent[known], ended[known]), (due[others], np.maximum(done, due)[others])


def _within(grid: Grid, begins: Floats, ends: Floats) -> Floats:
    """How many are there on average in each bucket."""
    return np.diff(_passed(grid, begins) - _passed(grid, ends)) / grid.width_s


def _passed(grid: Grid, moments: Floats) -> Floats:
    """At each edge of a bucket, the seconds since each moment before it, added up."""
    moments = np.maximum(moments, 0.0)
    inside = moments < grid.width_s * grid.count
    index = grid.index(moments[inside])
    counts = np.cumsum(np.bincount(index, minlength=grid.count))
    sums = np.cumsum(np.bincount(index, weights=moments[inside], minlength=grid.count))
    edges = grid.width_s * np.arange(1, grid.count + 1)
    return np.concatenate(([0.0], edges * counts - sums))


def _ratio(ours: Floats, told: Floats) -> tuple[float, float]:
    """All of ours to all that was told, and its standard error by what blocks of time leave unexplained."""
    ratio = float(ours.sum() / told.sum())
    blocks = min(BLOCKS, told.size)
    starts = np.arange(blocks) * told.size // blocks
    rest = np.add.reduceat(ours, starts) - ratio * np.add.reduceat(told, starts)
    return ratio, math.sqrt(float((rest**2).sum()) * blocks / (blocks - 1)) / float(told.sum())

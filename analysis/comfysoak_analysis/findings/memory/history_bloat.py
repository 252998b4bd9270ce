"""HISTORY_BLOAT: the server's memory grows by as much a prompt as keeping the prompt in its history takes.

ComfyUI keeps up to 10,000 whole prompts. That is a finding only where they will take so much that it matters: of usual
workflows they take some hundred MiB, and then no more. What goes on rising when history is full is not history; before
that only the size tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import LEAST_BYTES, MIB
from comfysoak_analysis.findings.memory import ram_leak
from comfysoak_analysis.findings.rising import Rise, Series, rise_of
from comfysoak_analysis.findings.server_memory import (
    HISTORY_MOST,
    MOST_TIMES,
    ServerMemory,
    kept_bytes,
    room,
    running_series,
    server_memories,
    while_filling,
    while_full,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

KIB = 1024
MATTERS_BYTES = 512 * MIB  # what 10,000 prompts take: less is no finding, unless there is no room for it
LEAST_SHARE, MOST_SHARE = 0.5, 2.0  # of what keeping a prompt takes: allocators round up and leave holes
FEWEST_ENTRIES = 50

_UNLESS = f"It leaks so much a prompt: that shows when history is full ({HISTORY_MOST:,} prompts) or was cleared."
_UNLESS_FULL = "Something else stopped growing when history was full."


@dataclass(frozen=True, slots=True)
class Bloat:
    """One server whose memory grew with its history."""

    memory: ServerMemory
    rise: Rise  # over entries of history, not over time: load comes in waves, and memory with it
    ended_s: float
    each_bytes: float  # that memory grew by for each entry, less what it grew by when history was full
    whole_bytes: float  # that keeping a prompt takes, as estimated
    leaks: bool = False  # whether RAM_LEAK tells of a rise beside it

    @property
    def entries(self) -> float:
        """By how many prompts history grew."""
        return self.rise.ended_s - self.rise.began_s

    @property
    def is_told_by_size(self) -> bool:
        """Whether each took about what keeping a prompt takes; beside a leak more."""
        share = self.each_bytes / self.whole_bytes
        return share >= LEAST_SHARE and (self.leaks or share <= MOST_SHARE)

    @property
    def of_history_bytes(self) -> float:
        """What each took, without what only a leak explains."""
        return min(self.each_bytes, MOST_TIMES * self.whole_bytes)

    @property
    def when_full_bytes(self) -> float:
        """What history will take when it is full."""
        return self.of_history_bytes * HISTORY_MOST

    @property
    def to_come_bytes(self) -> float:
        """How much of that is still to come."""
        return self.of_history_bytes * max(HISTORY_MOST - float(self.memory.kept.max(initial=0.0)), 0.0)


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    found = _bloats(run, states)
    if not found:
        return
    rows = pd.DataFrame(
        [(one.memory.server, run.start + pd.Timedelta(seconds=one.ended_s), one.memory.server) for one in found],
        columns=["id", "moment", "server"],
    )
    sure = all(one.memory.was_full for one in found)
    words = " ".join(_words(run, one) for one in found[:3])
    certainty, unless = (Certainty.LIKELY, _UNLESS_FULL) if sure else (Certainty.POSSIBLE, _UNLESS)
    yield finding(Code.HISTORY_BLOAT, rows, words, states, certainty=certainty, unless=unless, chart="processes")


def _bloats(run: Run, states: GpuStates) -> list[Bloat]:
    """The servers whose memory rises with their history, and will so by much, the largest first."""
    memories = server_memories(run)
    rising = [one for memory in memories if (one := _bloat(run, states, memory, len(memories))) is not None]
    if not rising:
        return []
    leaking = {one.series.subject for one in ram_leak.leaking(run, states)[0]}
    found = [replace(one, leaks=one.memory.server in leaking) for one in rising]
    return sorted((one for one in found if one.is_told_by_size and _matters(run, one)), key=lambda one: -one.rise.total)


def _bloat(run: Run, states: GpuStates, memory: ServerMemory, tested: int) -> Bloat | None:
    whole = kept_bytes(run)
    if whole is None or not np.isfinite(memory.history).any():
        return None
    over_time = running_series(run, states, while_filling(memory))
    rise = rise_of(_by_entries(memory, over_time), LEAST_BYTES, 0.01 / tested)
    if rise is None or rise.ended_s - rise.began_s < FEWEST_ENTRIES:
        return None
    beside = _when_full_per_s(run, states, memory) * float(np.ptp(over_time.seconds)) if memory.was_full else 0.0
    each = rise.trend.slope_per_s - beside / (rise.ended_s - rise.began_s)
    return Bloat(memory, rise, float(over_time.seconds.max()), each, whole)


def _by_entries(memory: ServerMemory, over_time: Series) -> Series:
    """The same memory against how many entries were added until then, over all processes."""
    added = np.cumsum(np.diff(memory.kept, prepend=0.0).clip(min=0))
    return replace(over_time, seconds=added[memory.rss.grid.index(over_time.seconds)])


def _when_full_per_s(run: Run, states: GpuStates, memory: ServerMemory) -> float:
    """How fast memory went on rising when history could not."""
    after = rise_of(running_series(run, states, while_full(memory)), 0.0)
    return after.trend.slope_per_s if after is not None else 0.0


def _matters(run: Run, one: Bloat) -> bool:
    """Whether it will take much, or more than there is left."""
    space, _ = room(run, one.memory)
    return one.when_full_bytes >= MATTERS_BYTES or one.to_come_bytes > space


def _words(run: Run, one: Bloat) -> str:
    said = (
        f"{one.memory.server}: its memory grew by {one.rise.total / MIB:,.0f} MiB while its history grew by "
        f"{one.entries:,.0f} prompts: {one.rise.trend.slope_per_s / KIB:,.1f} KiB each, "
        f"and to keep one takes about {one.whole_bytes / KIB:,.1f} KiB. "
        f"It keeps {HISTORY_MOST:,} prompts: about {one.when_full_bytes / MIB:,.0f} MiB."
    )
    space, until = room(run, one.memory)
    if one.to_come_bytes > space:
        said += f" Before that {until} is reached."
    if one.leaks:
        return said + " It leaks as well: see RAM_LEAK."
    return said + (" It stopped when history was full." if one.memory.was_full else "")

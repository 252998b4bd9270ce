"""HISTORY_BLOAT: the server's memory grows by as much a prompt as keeping the prompt in its history takes.

ComfyUI keeps up to 10,000 whole prompts. Where memory went on rising after history was full, it was not that: then it
is RAM_LEAK. Before that only the size tells: what is kept of a prompt are the objects its JSON is parsed into.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import LEAST_BYTES, MIB
from comfysoak_analysis.findings.rising import Rise, Series, rise_of
from comfysoak_analysis.findings.server_memory import (
    HISTORY_MOST,
    ServerMemory,
    kept_bytes,
    running_series,
    server_memories,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

KIB = 1024
ENTRY_BYTES = 4 * KIB  # outputs, status and messages that are kept beside the prompt
LEAST_TIMES, MOST_TIMES = 0.5, 2.0  # allocators round up and leave holes; equal keys and texts are kept once
FEWEST_ENTRIES = 50
FULL_SHARE = 0.15  # of the run, that history must be full for to show what happens then
SAME_RATE = 0.3  # of the rate before: what went on rising as fast after history was full was not history

_UNLESS = f"It leaks so much a prompt: that shows when history is full ({HISTORY_MOST:,} prompts) or was cleared."
_UNLESS_FULL = "Something else stopped growing when history was full."


@dataclass(frozen=True, slots=True)
class Bloat:
    """One server whose memory grew with its history."""

    memory: ServerMemory
    rise: Rise  # over entries of history, not over time: load comes in waves, and memory with it
    ended_s: float
    was_full: bool

    @property
    def entries(self) -> float:
        """By how many prompts history grew."""
        return self.rise.ended_s - self.rise.began_s

    @property
    def bytes_an_entry(self) -> float:
        """What each took."""
        return self.rise.trend.slope_per_s


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    found = bloats(run, states)
    if not found:
        return
    rows = pd.DataFrame(
        [(one.memory.server, run.start + pd.Timedelta(seconds=one.ended_s), one.memory.server) for one in found],
        columns=["id", "moment", "server"],
    )
    sure = all(one.was_full for one in found)
    words = " ".join(_words(run, one) for one in found[:3])
    certainty, unless = (Certainty.LIKELY, _UNLESS_FULL) if sure else (Certainty.POSSIBLE, _UNLESS)
    yield finding(Code.HISTORY_BLOAT, rows, words, states, certainty=certainty, unless=unless, chart="processes")


def bloats(run: Run, states: GpuStates) -> list[Bloat]:
    """The servers whose rise of memory is explained by their history, the largest first."""
    memories = server_memories(run)
    found = [one for memory in memories if (one := _bloat(run, states, memory, len(memories))) is not None]
    return sorted(found, key=lambda one: -one.rise.total)


def _bloat(run: Run, states: GpuStates, memory: ServerMemory, tested: int) -> Bloat | None:
    size = kept_bytes(run)
    filling = np.isfinite(memory.history) & ~memory.is_full
    if size is None or not filling.any():
        return None
    over_time = running_series(run, states, memory, filling)
    rise = rise_of(_by_entries(memory, over_time), LEAST_BYTES, 0.01 / tested)
    if rise is None:
        return None
    whole, lasted_s = size + ENTRY_BYTES, float(np.ptp(over_time.seconds))
    was_full = bool(memory.is_full.mean() >= FULL_SHARE)
    found = Bloat(memory, rise, float(over_time.seconds.max()), was_full)
    if found.entries < FEWEST_ENTRIES or not LEAST_TIMES * whole <= found.bytes_an_entry <= MOST_TIMES * whole:
        return None
    if was_full and _still_rises(run, states, memory, rise.total / max(lasted_s, 1e-9)):
        return None
    return found


def _by_entries(memory: ServerMemory, over_time: Series) -> Series:
    """The same memory against how many entries were added until then, the cleared ones among them."""
    steps = np.diff(np.nan_to_num(memory.history), prepend=0.0).clip(min=0)
    added = np.cumsum(steps)[memory.rss.grid.index(over_time.seconds)]
    return replace(over_time, seconds=added)


def _still_rises(run: Run, states: GpuStates, memory: ServerMemory, before_per_s: float) -> bool:
    """Whether memory went on rising at a similar rate when history could not."""
    full = running_series(run, states, memory, memory.is_full)
    after = rise_of(full, 0.0)
    return after is not None and after.trend.slope_per_s > SAME_RATE * before_per_s


def _words(run: Run, one: Bloat) -> str:
    size = ((kept_bytes(run) or 0.0) + ENTRY_BYTES) / KIB
    said = (
        f"{one.memory.server}: its memory grew by {one.rise.total / MIB:,.0f} MiB while its history grew by "
        f"{one.entries:,.0f} prompts: {one.bytes_an_entry / KIB:,.1f} KiB each, "
        f"and to keep one takes about {size:,.1f} KiB."
    )
    return said + (" It stopped when history was full." if one.was_full else "")

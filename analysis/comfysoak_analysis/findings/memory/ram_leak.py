"""RAM_LEAK: the memory of a server's process rises and rises, by more than its history can explain.

What keeping prompts takes at the most is left out, so a leak is told whatever history does; a smaller one of so much a
prompt hides in it until history is full.

Files in the system's cache are not in it. Models that stay in memory are: a rise is one only while the same models have
been read. With caches that give way to pressure memory fills up to a plateau; that it goes on to the end is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import (
    MIB,
    SUBJECTS_TOLD,
    hours_left,
    leak_rows,
    leak_words,
    least_bytes,
    others_words,
)
from comfysoak_analysis.findings.rising import Rise, Series, rises
from comfysoak_analysis.findings.server_memory import (
    MOST_TIMES,
    ServerMemory,
    beyond_history,
    kept_bytes,
    room,
    running_series,
    server_memories,
    settled,
    while_full,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_UNLESS = "A cache is still filling up that will stop later; `settle` stages would tell."
_UNLESS_HISTORY = "Prompts kept in history take it: how many these are, or how large, is not known."
_UNLESS_SETTLED = "The server's allocator keeps what it was given back: a restart between two settles would tell."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the worst server first."""
    found, after_settles = leaking(run, states)
    if not found:
        return
    memories = {one.server: one for one in server_memories(run)}
    said = [_words(run, rise, memories[rise.series.subject], settles=after_settles) for rise in found]
    worst = memories[found[0].series.subject]
    history_known = bool(np.isfinite(worst.history).any()) and kept_bytes(run) is not None
    unless = _UNLESS_SETTLED if after_settles else _UNLESS if history_known else _UNLESS_HISTORY
    yield finding(
        Code.RAM_LEAK, leak_rows(run, found, [rise.series.subject for rise in found]),
        " ".join(said[:SUBJECTS_TOLD]) + others_words(found, "server"), states, count=len(found),
        certainty=Certainty.LIKELY if after_settles else Certainty.POSSIBLE, unless=unless, chart="processes",
    )  # fmt: skip


def leaking(run: Run, states: GpuStates) -> tuple[list[Rise], bool]:
    """The servers whose memory rises beyond what history explains; and whether that is what was left after settles.

    Where history was full for long that part is tested by itself, too: there it explains nothing.
    """
    return run.once(_leaking, states)


def _leaking(run: Run, states: GpuStates) -> tuple[list[Rise], bool]:
    memories = server_memories(run)
    tested, after_settles = _series(run, states, [beyond_history(run, one) for one in memories])
    full, as_well = _series(run, states, [while_full(one) for one in memories if one.was_full])
    found: dict[str, Rise] = {}
    for rise in rises(tested + (full if as_well == after_settles else []), least_bytes(run)):
        found.setdefault(rise.series.subject, rise)
    return list(found.values()), after_settles


def tested_series(run: Run, states: GpuStates) -> tuple[list[Series], bool]:
    """The memory of each server, history and all, by its address; and whether that is what was left after settles."""
    return _series(run, states, server_memories(run))


def _series(run: Run, states: GpuStates, memories: Sequence[ServerMemory]) -> tuple[list[Series], bool]:
    after_settles = [one for memory in memories if (one := settled(run, memory)) is not None]
    return after_settles or [running_series(run, states, memory) for memory in memories], bool(after_settles)


def _words(run: Run, rise: Rise, memory: ServerMemory, *, settles: bool) -> str:
    by = "by its resident memory with the same models read"
    if settles:
        by = f"by its resident memory after each of {rise.series.values.size:,} settles"
    most = float(memory.kept.max(initial=0.0))
    taken = MOST_TIMES * (kept_bytes(run) or 0.0) * most
    if memory.is_full[memory.rss.grid.index(np.array([rise.began_s]))].all():
        by += ", while its history was full, which does not explain it"
    elif taken > 0:
        by += f", less the most that its history of {most:,.0f} prompts can take ({taken / MIB:,.0f} MiB)"
    space, until = room(run, memory)
    return leak_words(rise, by, hours_left(rise, space), until)

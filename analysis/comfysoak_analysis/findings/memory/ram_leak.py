"""RAM_LEAK: the memory of a server's process rises and rises, and its history does not explain it.

Files in the system's cache are not in it. Models that stay in memory are: a rise is one only while the same models have
been read. With caches that give way to pressure memory fills up to a plateau; that it goes on to the end is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import (
    SUBJECTS_TOLD,
    hours_left,
    lately,
    leak_rows,
    leak_words,
    least_bytes,
    others_words,
)
from comfysoak_analysis.findings.memory.history_bloat import bloats
from comfysoak_analysis.findings.rising import Rise, Series, rises
from comfysoak_analysis.findings.server_memory import ServerMemory, running_series, server_memories, settled
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.server_processes import serving
from comfysoak_core.codes import Code

_UNLESS = "A cache is still filling up that will stop later; `settle` stages would tell."
_UNLESS_HISTORY = "Prompts kept in history take it, whose length is not known."
_UNLESS_SETTLED = "The server's allocator keeps what it was given back: a restart between two settles would tell."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the worst server first."""
    explained = {one.memory.server for one in bloats(run, states)}
    tested, after_settles = tested_series(run, states)
    found = [rise for rise in rises(tested, least_bytes(run)) if rise.series.subject not in explained]
    if not found:
        return
    memories = {one.server: one for one in server_memories(run)}
    said = [_words(run, rise, memories[rise.series.subject], settles=after_settles) for rise in found]
    worst = memories[found[0].series.subject]
    history_known = bool(np.isfinite(worst.history).any())
    unless = _UNLESS_SETTLED if after_settles else _UNLESS if history_known else _UNLESS_HISTORY
    yield finding(
        Code.RAM_LEAK, leak_rows(run, found, [rise.series.subject for rise in found]),
        " ".join(said[:SUBJECTS_TOLD]) + others_words(found, "server"), states, count=len(found),
        certainty=Certainty.LIKELY if after_settles else Certainty.POSSIBLE, unless=unless, chart="processes",
    )  # fmt: skip


def tested_series(run: Run, states: GpuStates) -> tuple[list[Series], bool]:
    """The memory of each server as it is tested, by its address; and whether that is what was left after settles."""
    memories = server_memories(run)
    after_settles = [one for memory in memories if (one := settled(run, memory)) is not None]
    return after_settles or [running_series(run, states, memory) for memory in memories], bool(after_settles)


def _words(run: Run, rise: Rise, memory: ServerMemory, *, settles: bool) -> str:
    by = "by its resident memory with the same models read"
    if settles:
        by = f"by its resident memory after each of {rise.series.values.size:,} settles"
    room, until = _room(run, memory)
    said = leak_words(rise, by, hours_left(rise, room), until)
    if memory.is_full.any():
        said += " Its history was full meanwhile, and does not explain it."
    return said


def _room(run: Run, memory: ServerMemory) -> tuple[float, str]:
    """How much more it may take: to its container's limit, else what its host has left."""
    columns = ("memory_limit_bytes", "memory_used_bytes", "memory_file_bytes")
    container = run.tracks("containers", columns, by="server").get(memory.server)
    if container is not None and np.isfinite(container[columns[0]].low).any():
        limit, used, cache = (_last(container[name]) for name in columns)
        return max(limit - used + (cache if np.isfinite(cache) else 0.0), 0.0), "the limit of its container"
    homes = {one.host for one in serving(run) if one.server == memory.server}
    hosts = run.tracks("host", ("memory_available_bytes",), by="host")
    free = [_last(track["memory_available_bytes"]) for host, track in hosts.items() if host in homes]
    return (min(free) if free else float("nan")), "the end of its host's memory"


def _last(track: Buckets) -> float:
    late = lately(track.mean)
    return float(np.median(late)) if late.size else float("nan")

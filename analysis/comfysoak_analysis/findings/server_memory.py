"""The memory of each server's process over time, and what of it keeping prompts takes: for RAM_LEAK and HISTORY_BLOAT.

ComfyUI keeps up to 10,000 whole prompts: the objects of Python that its JSON is parsed into, and what came of it. How
much that is can only be estimated, since allocators round up and leave holes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.findings.leaks import lately, settled_series
from comfysoak_analysis.findings.rising import SKIPPED, Series
from comfysoak_analysis.findings.windows import (
    centres_s,
    load_levels,
    low_points,
    moments_in_buckets,
    starts_label,
    together,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.server_processes import serving
from comfysoak_analysis.statistics.series import Floats

HISTORY_MOST = 10_000  # entries that ComfyUI keeps
ENTRY_BYTES = 4096  # outputs, status and messages that are kept beside the prompt
MOST_TIMES = 1.3  # the estimate, what an entry may take: more than that is not history
FULL_SHARE = 0.15  # of the run, that history must be full for to show what happens then
_NEARLY = 0.995


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """One server: resident memory in coarse buckets, which process it was, and how long its history was."""

    server: str
    rss: Buckets
    process: np.ndarray  # a number for each process it was
    history: Floats  # entries, held between two readings; NaN where it is not known
    kept: Floats  # the most entries until then, of each process: what is cleared is used again for the next ones

    @property
    def is_full(self) -> np.ndarray:
        """Where history was at its cap: there it cannot explain a rise."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.history >= _NEARLY * HISTORY_MOST)

    @property
    def was_full(self) -> bool:
        """Whether that was long enough to show what happens then."""
        return bool(self.is_full.mean() >= FULL_SHARE)


def server_memories(run: Run) -> tuple[ServerMemory, ...]:
    """Those whose processes were watched."""
    return run.once(_server_memories)


def _server_memories(run: Run) -> tuple[ServerMemory, ...]:
    known = [one for one in serving(run) if one.told["rss_bytes"].count]
    if not known:
        return ()
    histories = run.tracks("server", ("history_length",), by="server")
    found = []
    for server in sorted({one.server or "" for one in known}):
        parts = [one.memory_track() for one in known if one.server == server]
        length = histories[server]["history_length"].mean if server in histories else None
        found.append(_joined(run, server, sorted(parts, key=_first), length))
    return tuple(found)


def _first(part: Buckets) -> int:
    return int(np.isfinite(part.low).argmax())


def _joined(run: Run, server: str, parts: list[Buckets], length: Floats | None) -> ServerMemory:
    """Processes that were one server one after the other, as one track."""
    grid = parts[0].grid
    mean, low, high = (np.full(grid.count, np.nan) for _ in range(3))
    process = np.zeros(grid.count, dtype=np.int64)
    for number, part in enumerate(parts):
        here = np.isfinite(part.low)
        mean[here], low[here], high[here] = part.mean[here], part.low[here], part.high[here]
        process[here] = number
    process = np.maximum.accumulate(process)  # also where none was seen
    if length is None or not np.isfinite(length).any():
        kept = np.minimum(_most_so_far(_ended(run, server, grid), process, from_zero=True), HISTORY_MOST)
        return ServerMemory(server, Buckets(grid, mean, low, high), process, np.full(grid.count, np.nan), kept)
    history = np.concatenate([_held(length[process == number]) for number in np.unique(process)])
    kept = _most_so_far(np.nan_to_num(history), process)
    return ServerMemory(server, Buckets(grid, mean, low, high), process, history, kept)


def _most_so_far(values: Floats, process: np.ndarray, *, from_zero: bool = False) -> Floats:
    """The most until then, of each process; `from_zero`: less its first."""
    found = np.zeros(values.size)
    for number in np.unique(process):
        most = np.maximum.accumulate(values[process == number])
        found[process == number] = most - most[0] if from_zero else most
    return found


def _ended(run: Run, server: str, grid: Grid) -> Floats:
    """How many prompts of ours had ended there: as many are kept where nobody read how long its history was."""
    ended = run.prompts.loc[run.prompts["server"] == server, "done_at"].dropna()
    return np.cumsum(moments_in_buckets(run, ended.to_numpy(), grid)).astype(float)


def _held(values: Floats) -> Floats:
    """The last known value, where there is none: of one process, as no reading is held over a restart."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.size), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], np.nan)


def running_series(run: Run, states: GpuStates, memory: ServerMemory) -> Series:
    """Low points of resident memory, apart for each process, the models it has read so far, and the load.

    A model stays in memory after it has left the GPU: what counts is which were ever loaded since the start. How each
    process begins is left out.
    """
    grid = memory.rss.grid
    read = _read_so_far(run, states, memory.server, centres_s(grid))
    lives = together(memory.process, starts_label(run, memory.server, grid))
    lows = np.where(_begins(lives), np.nan, memory.rss.low)
    return low_points(memory.server, grid, lows, together(lives, read, load_levels(run)))


def _begins(lives: np.ndarray) -> np.ndarray:
    """Where a process that was started within the run fills its caches: as long as a fifth of the longest life."""
    places, starts = np.arange(lives.size), np.flatnonzero(np.diff(lives)) + 1
    number = np.searchsorted(starts, places, side="right")
    ages = places - np.concatenate([[0], starts])[number]
    return np.asarray((number > 0) & (ages < SKIPPED * (ages.max(initial=0) + 1)))


def settled(run: Run, memory: ServerMemory) -> Series | None:
    """What was left after each settle."""
    return settled_series(run, memory.server, memory.rss)


def _read_so_far(run: Run, states: GpuStates, server: str, at_s: Floats) -> np.ndarray:
    """How many different models had been loaded."""
    first: dict[str, float] = {}
    for load in states.loads:
        if load.server == server:
            first.setdefault(load.label, (load.known_until - run.start).total_seconds())
    return np.searchsorted(np.sort(np.array(list(first.values()))), at_s)


def kept_bytes(run: Run) -> float | None:
    """What a prompt takes in the memory of a server that keeps it, by the weights of the mix; None: no graph is known.

    As the objects of Python it is parsed into (seven times the JSON of a usual workflow, once that of a long text), and
    what is kept beside it.
    """
    return run.once(_kept_bytes)


def _kept_bytes(run: Run) -> float | None:
    workloads = [one for one in (run.plan.workloads if run.plan is not None else ()) if one.graph]
    weight = sum(one.weight for one in workloads)
    if not workloads or weight <= 0:
        return None
    sizes = (one.weight * _deep_bytes(json.loads(json.dumps(one.graph)), set()) for one in workloads)
    return sum(sizes) / weight + ENTRY_BYTES


def _deep_bytes(value: object, seen: set[int]) -> int:
    """The size of parsed JSON with all it holds; equal keys are one object."""
    if id(value) in seen:
        return 0
    seen.add(id(value))
    held = sys.getsizeof(value)
    if isinstance(value, dict):
        return held + sum(_deep_bytes(key, seen) + _deep_bytes(part, seen) for key, part in value.items())
    return held + sum(_deep_bytes(part, seen) for part in value) if isinstance(value, list) else held


def beyond_history(run: Run, memory: ServerMemory) -> ServerMemory:
    """The same memory less the most that its history can explain."""
    return _less(memory, MOST_TIMES * (kept_bytes(run) or 0.0) * memory.kept)


def while_full(memory: ServerMemory) -> ServerMemory:
    """The same memory, known only where history was full."""
    return _less(memory, np.where(memory.is_full, 0.0, np.nan))


def while_filling(memory: ServerMemory) -> ServerMemory:
    """The same memory, known only where the length of history was known, and not at its cap."""
    return _less(memory, np.where(np.isfinite(memory.history) & ~memory.is_full, 0.0, np.nan))


def _less(memory: ServerMemory, share: Floats) -> ServerMemory:
    rss = memory.rss
    return replace(memory, rss=replace(rss, mean=rss.mean - share, low=rss.low - share, high=rss.high - share))


def room(run: Run, memory: ServerMemory) -> tuple[float, str]:
    """How much more it may take (NaN: not known): to its container's limit, else what its host has left."""
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

"""The memory of each server's process over time: what RAM_LEAK and HISTORY_BLOAT look at."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.leaks import settled_series
from comfysoak_analysis.findings.rising import Series
from comfysoak_analysis.findings.windows import centres_s, load_levels, low_points, starts_label, together
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.server_processes import serving
from comfysoak_analysis.statistics.series import Floats

HISTORY_MOST = 10_000  # entries that ComfyUI keeps
_NEARLY = 0.995


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """One server: resident memory in coarse buckets, which process it was, and how long its history was."""

    server: str
    rss: Buckets
    process: np.ndarray  # a number for each process it was
    history: Floats  # entries, held between two readings; NaN where it is not known

    @property
    def is_full(self) -> np.ndarray:
        """Where history was at its cap: there it cannot explain a rise."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.history >= _NEARLY * HISTORY_MOST)


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
        found.append(_joined(server, parts, length))
    return tuple(found)


def _joined(server: str, parts: list[Buckets], length: Floats | None) -> ServerMemory:
    """Processes that were one server one after the other, as one track."""
    grid = parts[0].grid
    mean, low, high = (np.full(grid.count, np.nan) for _ in range(3))
    process = np.zeros(grid.count, dtype=np.int64)
    for number, part in enumerate(parts):
        here = np.isfinite(part.low)
        mean[here], low[here], high[here] = part.mean[here], part.low[here], part.high[here]
        process[here] = number
    history = np.full(grid.count, np.nan) if length is None else _held(length)
    return ServerMemory(server, Buckets(grid, mean, low, high), process, history)


def _held(values: Floats) -> Floats:
    """The last known value, where there is none."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.size), -1))
    return np.where(last >= 0, values[np.maximum(last, 0)], np.nan)


def running_series(run: Run, states: GpuStates, memory: ServerMemory, chosen: np.ndarray | None = None) -> Series:
    """Low points of resident memory, apart for each process, the models it has read so far, and the load.

    A model stays in memory after it has left the GPU: what counts is which were ever loaded since the start.
    """
    grid = memory.rss.grid
    read = _read_so_far(run, states, memory.server, centres_s(grid))
    labels = together(memory.process, starts_label(run, memory.server, grid), read, load_levels(run))
    lows = memory.rss.low if chosen is None else np.where(chosen, memory.rss.low, np.nan)
    return low_points(memory.server, grid, lows, labels)


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

    As the objects of Python it is parsed into: seven times the JSON of a usual workflow, once that of a long text.
    """
    return run.once(_kept_bytes)


def _kept_bytes(run: Run) -> float | None:
    workloads = [one for one in (run.plan.workloads if run.plan is not None else ()) if one.graph]
    weight = sum(one.weight for one in workloads)
    if not workloads or weight <= 0:
        return None
    return sum(one.weight * _deep_bytes(json.loads(json.dumps(one.graph))) for one in workloads) / weight


def _deep_bytes(value: object) -> int:
    """The size of parsed JSON with all it holds."""
    held = sys.getsizeof(value)
    if isinstance(value, dict):
        return held + sum(_deep_bytes(key) + _deep_bytes(part) for key, part in value.items())
    return held + sum(map(_deep_bytes, value)) if isinstance(value, list) else held

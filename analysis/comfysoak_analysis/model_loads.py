"""Model loads, which no table holds: derived from what does, the most trustworthy source first.

1. Lines of the server's log: `Requested to load X` and what it says when it is done. They name model and bytes.
2. GPU memory that rises by 256 MiB or more inside the window of a node and stays up when the node ends: bytes,
   and a time good to a sample. Of one server only: of several nobody says which GPU is whose.
3. A sampler's wait between its start and its first step, where that is far above its usual: a time, nothing else.

Each server uses the best source it has. The model is a class name in the log (`SDXL`), and a guess elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Floats
from comfysoak_analysis.frames import Run

STEP_BYTES = 256 * 1024**2
_STILL_THE_SAME_RISE_S = 0.35  # samples at 5 to 10 Hz: a pause this short does not split a load
_USUAL_WAITS = 2.0  # a first step this many times the median wait late, and at least half a second, hides a load
_LEAST_WAIT_S = 0.5
_LONGEST_LOAD_S = 600.0

Moments = np.ndarray[Any, np.dtype[np.datetime64]]


class Source(StrEnum):
    """What told of a load."""

    LOG = "log"
    MEMORY = "memory"
    PROGRESS = "progress"


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One load; `model` and `size_bytes` are None where the source does not tell them."""

    server: str
    model: str | None
    started: pd.Timestamp
    ended: pd.Timestamp
    size_bytes: float | None
    source: Source
    partial: bool = False  # the server said it did not fit

    @property
    def lasted_s(self) -> float:
        """How long it took."""
        return float((self.ended - self.started).total_seconds())


def model_loads(run: Run) -> tuple[ModelLoad, ...]:
    """All loads of a run in order of time."""
    found: list[ModelLoad] = []
    told = set(run.server_log.loc[run.server_log["kind"] == "model_requested", "server"])
    alone = run.prompts["server"].nunique() <= 1  # of several nobody says which GPU is whose
    for server in sorted(set(run.nodes["server"]) | told):
        if server in told:
            found += _by_log(run.server_log[run.server_log["server"] == server], str(server))
            continue
        nodes = run.nodes[run.nodes["server"] == server].sort_values("started")
        by_memory = list(_by_memory(run.gpu, nodes, str(server))) if alone else []
        found += by_memory or list(_by_progress(nodes, str(server)))
    return tuple(sorted(found, key=lambda load: load.started))


def _by_log(log: pd.DataFrame, server: str) -> Iterator[ModelLoad]:
    """A request, and the first word after it that it is done; without one it ended when it began."""
    lines = log[log["kind"].isin(["model_requested", "model_loaded"])]
    waiting: list[tuple[pd.Timestamp, str | None]] = []
    for at, kind, model, size, text in zip(
        lines["at"], lines["kind"], lines["model"], lines["loaded_bytes"], lines["text"], strict=True
    ):
        if kind == "model_requested":
            waiting.append((at, None if pd.isna(model) else str(model)))
        elif waiting:
            began, name = waiting.pop(0)
            yield ModelLoad(
                server,
                name,
                began,
                at,
                None if pd.isna(size) else float(size),
                Source.LOG,
                partial="partially" in str(text),
            )
    for began, name in waiting:
        yield ModelLoad(server, name, began, began, None, Source.LOG)


def _by_memory(gpu: pd.DataFrame, nodes: pd.DataFrame, server: str) -> Iterator[ModelLoad]:
    if nodes.empty:
        return
    starts, ends = nodes["started"].to_numpy(), nodes["ended"].fillna(nodes["started"]).to_numpy()
    for _, samples in gpu.dropna(subset=["memory_used_bytes"]).groupby("uuid"):
        at, used = samples["at"].to_numpy(), samples["memory_used_bytes"].to_numpy(dtype=float)
        for first, last, node in _within_nodes(rises(at, used), at, starts, ends):
            top = first + int(np.argmax(used[first : last + 1]))
            after = min(int(np.searchsorted(at, ends[node], side="right")), len(at) - 1)
            kept = float(min(used[top], used[max(after, top)]) - used[first])
            if kept >= STEP_BYTES:  # what is gone when the node ends was its working memory
                name = nodes["node_class"].iloc[node]
                model = None if pd.isna(name) else f"in {name}"
                yield ModelLoad(server, model, pd.Timestamp(at[first]), pd.Timestamp(at[top]), kept, Source.MEMORY)


def _within_nodes(
    found: Iterator[tuple[int, int]], at: Moments, starts: Moments, ends: Moments
) -> Iterator[tuple[int, int, int]]:
    """Each rise cut where a node ends, with the index of its node; what is outside of nodes is left out."""
    for begin, last in found:
        first = begin
        while first < last:
            node = int(np.searchsorted(starts, at[first + 1], side="right")) - 1
            inside = node >= 0 and at[first] <= ends[node]
            stop = int(np.searchsorted(at, ends[node], side="right")) - 1 if inside else first + 1
            stop = min(max(stop, first + 1), last)
            if inside:
                yield first, stop, node
            first = stop


def rises(at: Moments, used: Floats) -> Iterator[tuple[int, int]]:
    """First and last index of each rise of at least 256 MiB; a pause of a few samples does not end it."""
    begin: int | None = None
    top = 0
    still = np.timedelta64(round(_STILL_THE_SAME_RISE_S * 1e9), "ns")
    for index in np.flatnonzero(np.diff(used) != 0) + 1:
        if used[index] > used[index - 1]:
            if begin is not None and at[index - 1] - at[top] > still:
                if used[top] - used[begin] >= STEP_BYTES:
                    yield begin, top
                begin = None
            begin = int(index) - 1 if begin is None else begin
            top = int(index)
        elif begin is not None:
            if used[top] - used[begin] >= STEP_BYTES:
                yield begin, top
            begin = None
    if begin is not None and used[top] - used[begin] >= STEP_BYTES:
        yield begin, top


def _by_progress(nodes: pd.DataFrame, server: str) -> Iterator[ModelLoad]:
    stepping = nodes.dropna(subset=["first_progress"])
    for name, part in stepping.groupby(stepping["node_class"].fillna("")):
        waits = (part["first_progress"] - part["started"]).dt.total_seconds()
        usual = float(waits.median())
        slow = part[(waits > _USUAL_WAITS * usual) & (waits - usual >= _LEAST_WAIT_S) & (waits < _LONGEST_LOAD_S)]
        for started, first in zip(slow["started"], slow["first_progress"], strict=True):
            ended = first - pd.Timedelta(seconds=usual)
            yield ModelLoad(server, f"in {name}", started, ended, None, Source.PROGRESS)


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """Which models a server held over time: what was loaded since it last said that it unloaded."""

    moments: Moments
    sets: tuple[tuple[str, ...], ...]

    def at(self, moment: np.datetime64, back: np.timedelta64) -> tuple[str, ...]:
        """The models at `moment`, the latest last; those unloaded no longer than `back` before, where none is left.

        What runs out of memory unloads everything: the question is what was there until then.
        """
        index = int(np.searchsorted(self.moments, moment, side="right")) - 1
        while index > 0 and not self.sets[index] and moment - self.moments[index] <= back:
            index -= 1
        return self.sets[index] if index >= 0 else ()


def loaded_models(run: Run, loads: tuple[ModelLoad, ...], server: str) -> LoadedModels:
    """By loads and by what the log says of unloading and of running out of memory."""
    changes: list[tuple[np.datetime64, str | None]] = [
        (load.ended.to_datetime64(), load.model) for load in loads if load.server == server and load.model
    ]
    log = run.server_log
    gone = log[(log["server"] == server) & log["kind"].isin(["model_unloaded", "oom"])]
    changes += [(moment, None) for moment in gone["at"].to_numpy()]
    held: tuple[str, ...] = ()
    moments, sets = [], []
    for moment, model in sorted(changes, key=lambda change: change[0]):
        held = () if model is None else (*(name for name in held if name != model), model)
        moments.append(moment)
        sets.append(held)
    return LoadedModels(np.array(moments, dtype="datetime64[ns]"), tuple(sets))

"""Loads by GPU memory that rises by 256 MiB or more inside the window of a node and stays up when the node ends.

Bytes, and a time good to a sample. Of one server only: of several nobody says which GPU is whose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Source
from comfysoak_analysis.model_loads.places import place_of
from comfysoak_analysis.statistics.series import Floats

STEP_BYTES = 256 * 1024**2
_STILL_THE_SAME_RISE_S = 0.35  # samples at 5 to 10 Hz: a pause this short does not split a load

Moments = np.ndarray[Any, np.dtype[np.datetime64]]


def by_memory(gpu: pd.DataFrame, nodes: pd.DataFrame, server: str) -> Iterator[ModelLoad]:
    """The loads that memory tells; `nodes` are those of one server, in order of their start."""
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
                began, ended = pd.Timestamp(at[first]), pd.Timestamp(at[top])
                yield ModelLoad(server, None, began, ended, kept, Source.MEMORY, place=place_of(nodes, node))


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

"""What was left in memory each time the servers had settled: the low points in which a leak shows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.watched_gpus import USED, WatchedGpu, watched_gpus
from comfysoak_core.scenario.quantities import format_size

KIND, FAILED = "settled", "not_settled"


def settled_spans(run: Run) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """From when to when each server stood idle with its memory let go; overlapping spans of several servers are one."""
    rows = run.events[run.events["kind"] == KIND]
    spans = [span for _, part in rows.groupby("server") for span in _of_server(part)]
    merged: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (max(begin, merged[-1][0]), min(end, merged[-1][1]))  # what holds for all of them
        else:
            merged.append((begin, end))
    return merged


def _of_server(rows: pd.DataFrame) -> Iterator[tuple[pd.Timestamp, pd.Timestamp]]:
    begin = None
    for at, edge in zip(rows["at"], rows["subject"], strict=True):
        if edge == "begin":
            begin = at
        elif begin is not None:
            yield begin, at
            begin = None


def settled_memory(run: Run) -> Iterator[tuple[str, str]]:
    """For each GPU the memory in use after the first and after the last settle, and whether some settles failed."""
    spans = settled_spans(run)
    for uuid, gpu in watched_gpus(run).items() if spans else ():
        levels = [level for span in spans if (level := _level(run, gpu, span)) is not None]
        if levels:
            yield f"Settled memory of {uuid}", _in_words(levels)
    failed = run.events[run.events["kind"] == FAILED]
    if not failed.empty:
        last = failed.iloc[-1]
        yield "Not settled", f"{len(failed):,} times, last {last['server']}: {last['detail']}"


def _level(run: Run, gpu: WatchedGpu, span: tuple[pd.Timestamp, pd.Timestamp]) -> float | None:
    track = run.tracks("gpu", (USED,))[gpu.uuid][USED]
    first, last = ((edge - run.start).total_seconds() / track.grid.width_s for edge in span)
    within = track.mean[max(math.ceil(first), 0) : max(math.floor(last) + 1, 0)]
    within = within[~np.isnan(within)]
    return float(np.median(within)) if len(within) else None


def _in_words(levels: list[float]) -> str:
    first, last = format_size(round(levels[0])), format_size(round(levels[-1]))
    return (
        f"{first} in use when settled once"
        if len(levels) == 1
        else f"{first} in use after the first of {len(levels):,} settles, {last} after the last"
    )

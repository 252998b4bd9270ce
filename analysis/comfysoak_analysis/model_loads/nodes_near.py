"""The nodes that ran around some moments: of five rows a prompt those few that a load may have happened in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from comfysoak_analysis.frames import Run, to_frame
from comfysoak_analysis.frames.lean import Chosen
from comfysoak_analysis.frames.samples import Ints, coded
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.parquet import Group
from comfysoak_core.recording.reading import TableReader

COLUMNS = (
    "prompt_id", "node_id", "node_class", "server", "workflow", "started_ns", "first_progress_ns", "ended_ns", "steps",
    "in_gap",
)  # fmt: skip
_BEFORE_NS, _AFTER_NS = 2 * NS_PER_S, NS_PER_S
_UNKNOWN_START_NS = 60 * NS_PER_S  # a prompt of which nobody knows when it began is looked for so far back
_AT_ONCE = 4  # prompts of one server that may be at work at a moment


class NodesNear:
    """Collects, while the table of nodes is read, those from the start of the prompts at work at some moments on."""

    def __init__(self, run: Run, moments: Mapping[str, Sequence[pd.Timestamp] | None]) -> None:
        """`moments`: those of each server; None: all of its nodes."""
        windows = {server: None if at is None else _windows(run, server, at) for server, at in moments.items()}
        seen = ("server", "started_ns", "ended_ns")
        self._chosen = Chosen(COLUMNS, seen, lambda piece: pa.array(_within(piece, windows)))

    def add(self, group: Group) -> None:
        """More rows."""
        self._chosen.add(group)

    def frame(self, reader: TableReader) -> pd.DataFrame:
        """In order of their start; `lasted_s` is how long each ran, NaN where the socket was away meanwhile."""
        frame = to_frame(self._chosen.rows(reader)).sort_values("started", kind="stable", ignore_index=True)
        lasted = (frame["ended"] - frame["started"]).dt.total_seconds()
        frame["lasted_s"] = lasted.mask(frame["in_gap"].fillna(value=False).astype(bool))
        return frame


def _windows(run: Run, server: str, moments: Sequence[pd.Timestamp]) -> tuple[Ints, Ints]:
    """Begins and ends, apart from each other and in order of time."""
    prompts = run.prompts
    mine = (prompts["server"] == server).to_numpy()
    starts, ends = (prompts[name].to_numpy()[mine] for name in ("started_at", "done_at"))
    known = ~np.isnat(starts)
    starts, ends = starts[known], ends[known]
    order = np.argsort(starts)
    starts, ends = starts[order].astype(np.int64), ends[order].astype(np.int64)
    at = np.sort(np.array([moment.value for moment in moments], dtype=np.int64))
    begins = at.copy()
    last = np.searchsorted(starts, at, side="right")
    for back in range(1, _AT_ONCE + 1):
        place = np.maximum(last - back, 0)
        if not len(starts):
            break
        at_work = (last - back >= 0) & (ends[place] >= at - _BEFORE_NS)
        begins = np.where(at_work, np.minimum(begins, starts[place]), begins)
    if not known.all():
        begins = np.minimum(begins, at - _UNKNOWN_START_NS)
    return _joined(begins - _BEFORE_NS, at + _AFTER_NS)


def _joined(begins: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Windows that overlap as one."""
    if not len(begins):
        return begins, ends
    order = np.argsort(begins)
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    is_new = np.concatenate([[True], begins[1:] > ends[:-1]])
    lasts = np.append(np.flatnonzero(is_new)[1:] - 1, len(ends) - 1)
    return begins[is_new], ends[lasts]


def _within(piece: pa.Table, windows: Mapping[str, tuple[Ints, Ints] | None]) -> np.ndarray:
    codes, names = coded(piece["server"])
    started = piece["started_ns"].fill_null(0).to_numpy()
    ended = piece["ended_ns"].fill_null(np.iinfo(np.int64).max).to_numpy()
    found = np.zeros(len(codes), dtype=bool)
    for code, name in enumerate(names[:-1]):
        if name not in windows:
            continue
        mine = np.flatnonzero(codes == code)
        spans = windows[name]
        found[mine] = True if spans is None else _overlaps(started[mine], ended[mine], *spans)
    return found


def _overlaps(started: Ints, ended: Ints, begins: Ints, ends: Ints) -> np.ndarray:
    """Whether a node ran in any of the windows."""
    if not len(begins):
        return np.zeros(len(started), dtype=bool)
    following = np.searchsorted(ends, started)  # the first window that is not over when it starts
    overlaps: np.ndarray = (following < len(begins)) & (begins[np.minimum(following, len(begins) - 1)] <= ended)
    return overlaps

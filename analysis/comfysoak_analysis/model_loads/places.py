"""Which node a moment of a server falls into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Place

_BEGINS_LATE = np.timedelta64(300, "ms")  # a message about a node comes so long after the server has written a line
_ENDS_EARLY = np.timedelta64(20, "ms")  # and a line is told so late at most
_TOLD_LATE = np.timedelta64(20, "ms")  # as a rule: a line that near before the next node is the next node's
_FILE_READ = np.timedelta64(150, "ms")  # of a log file, the lines of which have the time they were read at
_LOOKED_AT = 24  # nodes of one prompt that may be open at a moment


def place_of(nodes: pd.DataFrame, index: int) -> Place:
    """The place that the row at `index` is."""
    row = nodes.iloc[index]
    return Place(
        str(row["prompt_id"]),
        str(row["node_id"]),
        None if pd.isna(row["node_class"]) else str(row["node_class"]),
        str(row["workflow"]),
        row["started"],
        None if pd.isna(row["ended"]) else row["ended"],
    )


class Places:
    """The nodes of one server, in order of their start."""

    def __init__(self, nodes: pd.DataFrame, *, users: frozenset[tuple[str, str]], of_file: bool) -> None:
        """`users`: workflow and id of nodes that use a model and read none; `of_file`: lines without a time."""
        self._nodes = nodes
        self._starts = nodes["started"].to_numpy()
        self._ends = nodes["ended"].fillna(nodes["started"] + pd.Timedelta(days=1)).to_numpy()
        self._uses = [key in users for key in zip(nodes["workflow"], nodes["node_id"], strict=True)]
        self._late = _FILE_READ if of_file else _ENDS_EARLY
        self._told_late = np.timedelta64(0, "ms") if of_file else _TOLD_LATE  # lines of a file are late themselves

    def put(self, load: ModelLoad) -> ModelLoad:
        """The load with its place, where it has none yet and one is found."""
        index = None if load.place is not None else self._at(load.started.to_datetime64())
        return load if index is None else replace(load, place=place_of(self._nodes, index))

    def _at(self, moment: np.datetime64) -> int | None:
        """The nearest node around the moment; first one that uses a model, of those close to it."""
        last = int(np.searchsorted(self._starts, moment + _BEGINS_LATE, side="right"))
        first = max(last - _LOOKED_AT, 0)
        near = (first + np.flatnonzero(self._ends[first:last] >= moment - self._late)).tolist()
        return max(near, key=lambda index: (self._uses[index], -self._away_s(index, moment), index), default=None)

    def _away_s(self, index: int, moment: np.datetime64) -> float:
        """Zero within its window as the server had it, else how far outside."""
        told = moment + self._told_late
        before, after = self._starts[index] - told, told - self._ends[index]
        return max(float(before / np.timedelta64(1, "s")), float(after / np.timedelta64(1, "s")), 0.0)

"""Which node a moment of a server falls into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Place

_SLACK = np.timedelta64(300, "ms")  # messages about nodes, and lines of a log file, come so much late
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

    def __init__(self, nodes: pd.DataFrame, *, users: frozenset[tuple[str, str]]) -> None:
        """`users`: workflow and id of the nodes that are known to use a model."""
        self._nodes = nodes
        self._starts = nodes["started"].to_numpy()
        self._ends = nodes["ended"].fillna(nodes["started"] + pd.Timedelta(days=1)).to_numpy()
        self._uses = [key in users for key in zip(nodes["workflow"], nodes["node_id"], strict=True)]

    def put(self, load: ModelLoad) -> ModelLoad:
        """The load with its place, where it has none yet and one is found."""
        index = None if load.place is not None else self._at(load.started.to_datetime64())
        return load if index is None else replace(load, place=place_of(self._nodes, index))

    def _at(self, moment: np.datetime64) -> int | None:
        """The latest node around the moment; first one that uses a model, of those close to it."""
        last = int(np.searchsorted(self._starts, moment + _SLACK, side="right"))
        near = [index for index in range(max(last - _LOOKED_AT, 0), last) if self._ends[index] >= moment - _SLACK]
        return max(near, key=lambda index: (self._uses[index], self._away(index, moment), index), default=None)

    def _away(self, index: int, moment: np.datetime64) -> float:
        """Nearness: zero within its window, else how far outside, negative."""
        before, after = self._starts[index] - moment, moment - self._ends[index]
        return -max(float(before / np.timedelta64(1, "s")), float(after / np.timedelta64(1, "s")), 0.0)

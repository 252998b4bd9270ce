"""Loads by a sampler's wait between its start and its first step, where that is far above its usual: only a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad, Source
from comfysoak_analysis.model_loads.places import place_of

_USUAL_WAITS = 2.0  # a first step this many times the median wait late, and at least half a second, hides a load
_LEAST_WAIT_S = 0.5
_LONGEST_LOAD_S = 600.0


def by_progress(nodes: pd.DataFrame, server: str) -> Iterator[ModelLoad]:
    """The loads that first steps tell; `nodes` are those of one server."""
    stepping = nodes.dropna(subset=["first_progress"])
    for _, part in stepping.groupby(stepping["node_class"].fillna("")):
        waits = (part["first_progress"] - part["started"]).dt.total_seconds().to_numpy()
        usual = float(np.median(waits))
        late = (waits > _USUAL_WAITS * usual) & (waits - usual >= _LEAST_WAIT_S) & (waits < _LONGEST_LOAD_S)
        for index in np.flatnonzero(late):
            began, first = part["started"].iloc[index], part["first_progress"].iloc[index]
            ended = first - pd.Timedelta(seconds=usual)
            yield ModelLoad(server, None, began, ended, None, Source.PROGRESS, place=place_of(part, int(index)))

"""Samples of any number as even series: what charts draw, detectors test and lookups read.

A track is one column of one subject (a GPU, a host, a server, ...) in the buckets of a grid, with mean, minimum and
maximum of each. Nobody but this module reads all rows of a table of samples at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid, bucketed

if TYPE_CHECKING:
    from comfysoak_analysis.frames import Run

FINE_MOST, COARSE_MOST = 300_000, 20_000
FINE_LEAST_S = 0.2

Tracks = Mapping[str, Mapping[str, Buckets]]  # subject -> column -> its track


def fine_grid(duration_s: float) -> Grid:
    """A fifth of a second for runs up to 16 h, a second for three days: for lookups around a moment."""
    return Grid.over(duration_s, FINE_MOST, FINE_LEAST_S)


def coarse_grid(duration_s: float) -> Grid:
    """At most 20,000 buckets: for tests over the whole run, and all but the memory and use of GPUs."""
    return Grid.over(duration_s, COARSE_MOST, FINE_LEAST_S)


def tracks(run: Run, table: str, columns: Sequence[str], by: str, grid: Grid) -> Tracks:
    """The tracks of `columns` (numbers; names as in a frame: `queue_answer_s`) of each value of `by`.

    A bucket without a sample of its own is NaN: nothing is held here. GPU rows are those of `told_once`.
    """
    frame = getattr(run, table)
    found: dict[str, dict[str, Buckets]] = {}
    for subject, part in frame.groupby(by, sort=True):
        seconds = run.since_start_s(part["at"])
        found[str(subject)] = {
            column: bucketed(grid, seconds, part[column].to_numpy(dtype=float), hold_s=0.0) for column in columns
        }
    return found


def flags(run: Run, table: str, column: str, by: str, grid: Grid) -> Tracks:
    """Of a column of named flags joined by commas: for each flag ever set the share of samples in which it was."""
    frame = getattr(run, table).dropna(subset=[column])
    found: dict[str, dict[str, Buckets]] = {}
    for subject, part in frame.groupby(by, sort=True):
        seconds, texts = run.since_start_s(part["at"]), part[column].astype(str).str.split(",")
        names = sorted({flag for flag_list in texts for flag in flag_list if flag})
        found[str(subject)] = {
            name: bucketed(grid, seconds, np.array([name in one for one in texts], dtype=float), hold_s=0.0)
            for name in names
        }
    return found

"""Each server's events and the state of the GPUs beside it, in even buckets: arrays of shape (servers, buckets).

Where it is not known which GPUs a server uses, all that were watched are held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Buckets, Grid, counts, regrouped
from comfysoak_analysis.findings.whose import gpus_of
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.tracks import Tracks
from comfysoak_analysis.model_loads import ModelLoad
from comfysoak_analysis.prompts import moments
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S

Moments = tuple[Floats, ...]  # of each server, in seconds after the start

HOLD_S = 3.0  # samples further apart than that are a gap; of slow ones three times their pace


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of a run, each with the GPUs beside it."""

    names: tuple[str, ...]
    gpus: tuple[tuple[str, ...], ...]

    def codes(self, column: pd.Series) -> np.ndarray:
        """The place of each row's server among them; -1 of another."""
        places = {name: place for place, name in enumerate(self.names)}
        codes, names = pd.factorize(column)
        return np.array([*(places.get(str(name), -1) for name in names), -1], dtype=np.int64)[codes]

    def rows(self, by_gpu: dict[str, Floats], grid: Grid, joined: Callable[[Floats], Floats]) -> Floats:
        """A row for each server: its GPUs `joined` (over axis 0) into one; NaN where none of them is told."""
        unknown = np.full(grid.count, np.nan)
        parts = [[by_gpu[uuid] for uuid in mine if uuid in by_gpu] for mine in self.gpus]
        return np.vstack([joined(np.vstack(part)) if part else unknown for part in parts])


def servers_of(run: Run, seen: Sequence[str]) -> Servers:
    """Those prompts were sent to; `seen` are the GPUs that were watched."""
    names = sorted(str(name) for name in run.prompts["server"].dropna().unique())
    return Servers(tuple(names), tuple(gpus_of(run, name) or tuple(seen) for name in names))


def onto(buckets: Buckets, values: Floats, grid: Grid) -> Floats:
    """One of the values of `buckets` on `grid`, wider or finer; held over gaps of up to three times their pace."""
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return np.full(grid.count, np.nan)
    pace = float(np.median(np.diff(known))) if known.size > 1 else 1.0
    hold_s = max(HOLD_S, 3 * pace * buckets.grid.width_s)
    if grid.width_s >= buckets.grid.width_s:
        return regrouped(Buckets(buckets.grid, values, values, values), grid, hold_s).mean
    held = regrouped(Buckets(buckets.grid, values, values, values), buckets.grid, hold_s).mean
    middles_s: Floats = (np.arange(grid.count, dtype=np.float64) + 0.5) * grid.width_s
    values_at: Floats = held[buckets.grid.index(middles_s)]
    return values_at


def means(found: Tracks, column: str, grid: Grid) -> dict[str, Floats]:
    """The means of a column of each GPU that tells it."""
    told = {uuid: columns[column] for uuid, columns in found.items() if np.isfinite(columns[column].mean).any()}
    return {uuid: onto(buckets, buckets.mean, grid) for uuid, buckets in told.items()}


def highest(found: Tracks, column: str, grid: Grid) -> dict[str, Floats]:
    """The highest in each bucket of a column of each GPU that tells it."""
    told = {uuid: columns[column] for uuid, columns in found.items() if np.isfinite(columns[column].mean).any()}
    return {uuid: _top(buckets, grid) for uuid, buckets in told.items()}


def _top(buckets: Buckets, grid: Grid) -> Floats:
    if grid.width_s >= buckets.grid.width_s:
        return regrouped(buckets, grid, HOLD_S).high
    return onto(buckets, buckets.high, grid)


def failures(run: Run, servers: Servers) -> Moments:
    """Prompts that did not end as expected."""
    prompts = run.prompts
    wrong = prompts[prompts["intended"] & ~prompts["ok"]]
    return _by_server(run, wrong["server"], moments(wrong), servers)


def ended(run: Run, servers: Servers) -> Moments:
    """Prompts that came to an end of their own."""
    prompts = run.prompts[["done_at", "scheduled"]]
    at_each = (
        prompts[(run.prompts["intended"] & (run.prompts["server"] == name)).to_numpy()] for name in servers.names
    )
    return tuple(run.since_start_s(moments(mine)) for mine in at_each)


def drops(run: Run, servers: Servers) -> Moments:
    """Sockets that were dropped."""
    sessions = run.sessions
    dropped = sessions[sessions["dropped"]]
    return _by_server(run, dropped["server"], dropped["closed"], servers)


def loads(run: Run, found: Sequence[ModelLoad], servers: Servers) -> Moments:
    """Model loads that began."""
    began = pd.Series([load.started for load in found], dtype="datetime64[ns]")
    return _by_server(run, pd.Series([load.server for load in found], dtype=object), began, servers)


def counted(found: Moments, grid: Grid) -> Floats:
    """How many fall into each bucket."""
    return np.vstack([counts(grid, seconds) for seconds in found])


def _by_server(run: Run, server: pd.Series, at: pd.Series, servers: Servers) -> Moments:
    since_ns = at.to_numpy().astype("datetime64[ns]").astype(np.int64) - (run.start_ns or 0)
    codes = servers.codes(server)
    codes[at.isna().to_numpy(dtype=bool)] = -1
    return tuple(since_ns[codes == place] / NS_PER_S for place in range(len(servers.names)))

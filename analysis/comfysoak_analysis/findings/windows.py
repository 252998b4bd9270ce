"""Coarse tracks in a few hundred windows, each with what held in it: the points that tests are made on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.findings.rising import Series
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats, numbered

WINDOWS = 400
LOW_SHARE = 0.25  # of the low points of a window, that is its level
MOST_HELD_S = 5.0  # a reading counts so long
MOSTLY = 0.5
CHANGING = -1  # label of buckets in which what is loaded changed
_PIECE = 250_000  # moments worked on at once
FEWEST_ARRIVALS = 30  # a window, to tell a level of load by them
USERS_STEP, ARRIVALS_STEP = 1.25, 2.0  # factors between two levels: users are counted, arrivals come by chance


def centres_s(grid: Grid) -> Floats:
    """The middle of each bucket, in seconds after the start."""
    return np.asarray((np.arange(grid.count) + 0.5) * grid.width_s, dtype=float)


def moments_in_buckets(run: Run, moments: np.ndarray, grid: Grid, *, early: bool = False) -> np.ndarray:
    """How many of `moments` (datetime64; of none is none counted) lie in each bucket, in pieces: no copy of millions.

    `early`: what was before the start counts to the first bucket.
    """
    counts = np.zeros(grid.count, dtype=np.int64)
    for first in range(0, len(moments), _PIECE):
        seconds = (moments[first : first + _PIECE] - run.start.to_datetime64()) / np.timedelta64(1, "s")
        seconds = np.maximum(seconds, 0.0) if early else seconds
        counts += np.bincount(grid.index(seconds[seconds >= 0]), minlength=grid.count)
    return counts


def held(values: Floats, width_s: float) -> Floats:
    """The last reading, held until the next one; NaN where it is too old."""
    places, known = np.arange(values.size), np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, places, -1))
    fresh = (last >= 0) & (places - last <= MOST_HELD_S / width_s)
    return np.where(fresh, values[np.maximum(last, 0)], np.nan)


def low_points(subject: str, grid: Grid, lows: Floats, labels: np.ndarray) -> Series:
    """The low points of each window, apart for each label; `lows` and `labels` are of the buckets of `grid`."""
    window = np.arange(grid.count) * min(WINDOWS, grid.count) // grid.count
    known = np.isfinite(lows)
    rows = pd.DataFrame(
        {"window": window[known], "label": labels[known], "low": lows[known], "at": centres_s(grid)[known]}
    )
    groups = rows.groupby(["window", "label"], sort=True)
    levels, at = groups["low"].quantile(LOW_SHARE), groups["at"].mean()
    labels_of = levels.index.get_level_values("label").to_numpy()
    return Series(subject, at.to_numpy(dtype=float), levels.to_numpy(dtype=float), labels_of)


def settled_lows(lows: Floats, models: np.ndarray) -> Floats:
    """Less those of buckets in which models came or went; all, where that is in most of them."""
    changing = models == CHANGING
    return lows if changing.mean() > MOSTLY else np.where(changing, np.nan, lows)


def together(*labels: np.ndarray) -> np.ndarray:
    """One label for each combination."""
    codes = np.zeros(labels[0].size, dtype=np.int64)
    for one in labels:
        numbers = pd.factorize(one)[0].astype(np.int64)
        codes = pd.factorize(codes * (numbers.max(initial=0) + 1) + numbers)[0].astype(np.int64)
    return codes


def loaded_labels(run: Run, states: GpuStates, server: str, grid: Grid) -> np.ndarray | None:
    """A number for the set of models that `server` held in each bucket; None where nothing tells of any load."""
    held = states.held(server)
    if held is None or not held.sets:
        return None
    moments = run.since_start_s(pd.Series(held.moments))
    edges = np.arange(grid.count + 1) * grid.width_s
    places = np.searchsorted(moments, edges, side="right")
    numbers = np.array([0, *(1 + numbered(held.sets))])
    first, last = places[:-1], places[1:]
    return np.where(first == last, numbers[first], CHANGING)


def starts_label(run: Run, server: str, grid: Grid) -> np.ndarray:
    """How often the server had been started anew before each bucket: nothing is held over that."""
    events = run.events[run.events["server"] == server]
    begun = events.loc[events["kind"].isin(["server_restarted", "server_process_gone"]), "at"]
    return np.searchsorted(np.sort(run.since_start_s(begun)), centres_s(grid))


def load_levels(run: Run) -> np.ndarray:
    """How much was asked for in each coarse bucket, as the number of a level: users, or arrivals of an open load.

    Never what was served: that falls when a server slows down.
    """
    return run.once(_load_levels)


def _load_levels(run: Run) -> np.ndarray:
    grid = run.coarse
    tracks = run.tracks("generator", ("users",), by="worker")
    told = [np.nan_to_num(held(track["users"].mean, grid.width_s)) for track in tracks.values()]
    users = np.sum([np.zeros(grid.count), *told], axis=0)
    if users.max(initial=0.0) > 0:
        return _levels(users, USERS_STEP)
    plan = run.plan
    if plan is None or not any(stage.arrivals or stage.replay for stage in plan.stages):
        return np.zeros(grid.count, dtype=np.int64)
    return _arrival_levels(run, grid)


def _arrival_levels(run: Run, grid: Grid) -> np.ndarray:
    counts = moments_in_buckets(run, run.prompts["scheduled"].to_numpy(), grid).astype(float)
    windows = int(np.clip(counts.sum() // FEWEST_ARRIVALS, 1, WINDOWS))
    window = np.arange(grid.count) * windows // grid.count
    rates = np.bincount(window, weights=counts) / np.bincount(window)
    return _levels(rates[window], ARRIVALS_STEP)


def _levels(amounts: Floats, step: float) -> np.ndarray:
    """Levels a factor `step` apart; 0 is none at all."""
    some = amounts > 0
    levels = np.zeros(amounts.size, dtype=np.int64)
    if some.any():
        usual = float(np.median(amounts[some]))
        scaled = np.log(amounts[some] / usual) / np.log(step)
        levels[some] = 1000 + np.round(scaled).astype(np.int64)  # the usual amount is the middle of its level
    return levels

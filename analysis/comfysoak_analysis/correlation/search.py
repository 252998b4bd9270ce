"""Looks for what goes together in a run, and says what is strong and sure; of a clean run it hardly ever says anything.

Failures and drops are held against states of the GPUs (`lift`); throughput, failures and drops against changes of what
GPUs tell (`lagged`). Only what harms is looked for: that busy GPUs finish more prompts is no news. All that was looked
for is corrected for together (Holm), and a weak effect is not told, however sure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.correlation import beside
from comfysoak_analysis.correlation.beside import Moments, Servers
from comfysoak_analysis.correlation.statement import Statement, of_lag, of_lift
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.tracks import Tracks
from comfysoak_analysis.model_loads import model_loads
from comfysoak_analysis.statistics.comparison import holm
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.statistics.together import Lagged, Lift, lagged, lift
from comfysoak_analysis.watched_gpus import Fine, watched_gpus
from comfysoak_core.scenario.quantities import format_duration

SURE_P = 0.05  # for all that is said of a run together
LEAST_RATIO = 1.5  # that the interval of a lift must lie above
LEAST_HITS = 3
LEAST_CORRELATION, LEAST_CHANGES = 0.3, 8
MOST_STATEMENTS = 8
FULL_SHARE, LIMIT_RATIO, HOT_BELOW_C, HOT_C = 0.95, 0.99, 5.0, 83.0
AFTER_S, AFTER_LOAD_S = 2.0, 5.0  # how long after a state, or a load, an event still counts to it
STATE_BUCKETS, CHANGE_BUCKETS = 60_000, 5_000
MOST_LAG_BUCKETS = 5
BUSY_RATIO = 0.2  # clocks of an idle GPU fall by themselves
_LOADED = "more models are loaded"
_THROTTLED = (
    "software_power_cap", "software_thermal", "hardware_thermal", "hardware_slowdown", "power_brake",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was looked for, and what it gave."""

    about: str
    beside: str
    found: Lift | Lagged
    said: bool  # strong enough, and harm

    def statement(self, p: float) -> Statement:
        if isinstance(self.found, Lift):
            return of_lift(self.about, self.beside, self.found, p)
        return of_lag(self.about, self.beside, self.found, p)


def statements(run: Run) -> tuple[Statement, ...]:
    """What can be said, the surest first; nothing of a run without prompts or without a watched GPU."""
    return run.once(_statements)


def _statements(run: Run) -> tuple[Statement, ...]:
    if run.prompts.empty or run.duration_s <= 0:
        return ()
    fine = {uuid: _fine(run, gpu.fine) for uuid, gpu in watched_gpus(run).items()}
    totals = run.tracks("gpu", ("memory_total_bytes",))
    slow = run.tracks("gpu_slow", ("sm_clock_hertz", "temperature_celsius"))
    servers = beside.servers_of(run, sorted({*fine, *slow}))
    if not servers.names:
        return ()
    gpus = _Gpus(fine, totals, slow, servers)
    events = _Events(
        beside.ended(run, servers),
        beside.failures(run, servers),
        beside.drops(run, servers),
        beside.loads(run, model_loads(run), servers),
    )
    tried = [*_lifts(run, gpus, events), *_lags(run, gpus, events)]
    found = [one.statement(p) for one, p in zip(tried, holm([one.found.p for one in tried]), strict=True) if one.said]
    sure = sorted((one for one in found if one.p <= SURE_P), key=lambda one: (one.p, -abs(one.effect)))
    return tuple(sure[:MOST_STATEMENTS])


def _fine(run: Run, fine: Fine) -> dict[str, Buckets]:
    """By steps of the fine grid: of memory the most, of utilisation the mean."""
    busy = fine.utilisation()
    return {column: Buckets(run.fine, values, values, values)
            for column, values in (("memory_used_bytes", fine.used), ("utilisation_ratio", busy))}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Gpus:
    """What was seen of the GPUs, and beside which server."""

    fine: Tracks
    totals: Tracks
    slow: Tracks
    servers: Servers


@dataclass(frozen=True, slots=True)
class _Events:
    """When it happened, at each server."""

    ended: Moments
    failures: Moments
    drops: Moments
    loads: Moments

    @property
    def have_loads(self) -> bool:
        return any(moments.size for moments in self.loads)


def _lifts(run: Run, gpus: _Gpus, events: _Events) -> Iterator[_Tried]:
    grid = Grid.over(run.duration_s, STATE_BUCKETS, run.fine.width_s)
    kinds: tuple[tuple[str, Floats, Floats | None], ...] = (
        ("failures", beside.counted(events.failures, grid), beside.counted(events.ended, grid)),
        ("drops", beside.counted(events.drops, grid), None),
    )
    kinds = tuple(kind for kind in kinds if kind[1].sum() >= LEAST_HITS)
    if not kinds:
        return
    for name, state in _states(run, gpus, events, grid):
        for about, counts, exposed in kinds:
            found = lift(counts, state)
            if found is not None:
                strong = found.low >= LEAST_RATIO and found.hits >= LEAST_HITS
                harms = exposed is None or _ratio_of_shares(counts, exposed, state) >= LEAST_RATIO
                yield _Tried(about, name, found, said=strong and harms)


def _ratio_of_shares(failed: Floats, ended: Floats, state: Floats) -> float:
    """The share of prompts that failed in the state against that out of it: no more prompts, no more failures."""
    inside, outside = state == 1, state == 0
    shares = [(failed[place].sum() + 0.5) / (ended[place].sum() + 1) for place in (inside, outside)]
    return float(shares[0] / shares[1])


def _states(run: Run, gpus: _Gpus, events: _Events, grid: Grid) -> Iterator[tuple[str, Floats]]:
    """Name and course (1, 0, NaN: unknown) of each state of the GPUs beside each server."""
    after_s = max(AFTER_S, grid.width_s)
    then = f" or within {format_duration(after_s)} after"
    for words, by_gpu in (
        (f"while VRAM was over {100 * FULL_SHARE:.0f} %", _full(gpus, grid)),
        ("while a GPU's utilisation was at its limit", _busy(gpus, grid)),
        ("while clocks were throttled", _throttled(run, grid)),
        ("while a GPU was hot", _hot(run, gpus, grid)),
    ):
        state = gpus.servers.rows(by_gpu, grid, lambda rows: np.fmax.reduce(rows, axis=0))
        yield words + then, _prolonged(state, after_s, grid)
    if events.have_loads:
        began = np.minimum(beside.counted(events.loads, grid), 1.0)
        after_load_s = max(AFTER_LOAD_S, grid.width_s)
        yield f"within {format_duration(after_load_s)} after a model load began", _prolonged(began, after_load_s, grid)


def _prolonged(state: Floats, by_s: float, grid: Grid) -> Floats:
    """The state, and `by_s` after it."""
    lasting = state.copy()
    for step in range(1, max(round(by_s / grid.width_s), 1) + 1):
        lasting[:, step:] = np.where(state[:, :-step] == 1, 1.0, lasting[:, step:])
    return lasting


def _above(values: Floats, limit: float) -> Floats:
    """1 where at or above, 0 where below, NaN where unknown."""
    return np.where(np.isfinite(values), (values >= limit).astype(float), np.nan)


def _full(gpus: _Gpus, grid: Grid) -> dict[str, Floats]:
    used = beside.highest(gpus.fine, "memory_used_bytes", grid)
    totals = {uuid: np.fmax.reduce(columns["memory_total_bytes"].high) for uuid, columns in gpus.totals.items()}
    return {uuid: _above(values, FULL_SHARE * totals[uuid]) for uuid, values in used.items() if totals.get(uuid, 0) > 0}


def _busy(gpus: _Gpus, grid: Grid) -> dict[str, Floats]:
    used = beside.means(gpus.fine, "utilisation_ratio", grid)
    return {uuid: _above(values, LIMIT_RATIO) for uuid, values in used.items()}


def _throttled(run: Run, grid: Grid) -> dict[str, Floats]:
    found = {}
    for uuid, flags in run.flags("gpu_slow", "event_reasons").items():
        shares = [beside.onto(flags[name], flags[name].mean, grid) for name in _THROTTLED if name in flags]
        if shares:
            found[uuid] = _above(np.fmax.reduce(np.vstack(shares), axis=0), 0.5)
    return found


def _hot(run: Run, gpus: _Gpus, grid: Grid) -> dict[str, Floats]:
    limits = {
        uuid: float(np.fmax.reduce(columns["slowdown_celsius"].high)) - HOT_BELOW_C
        for uuid, columns in run.tracks("gpu_health", ("slowdown_celsius",)).items()
    }
    told = beside.means(gpus.slow, "temperature_celsius", grid)
    return {uuid: _above(values, _or(limits.get(uuid), HOT_C)) for uuid, values in told.items()}


def _or(limit: float | None, otherwise: float) -> float:
    return otherwise if limit is None or limit != limit else limit  # NaN: never told


def _lags(run: Run, gpus: _Gpus, events: _Events) -> Iterator[_Tried]:
    """Correlations of changes, with what is bad for each: -1, throughput falls as the other rises."""
    ended_per_s = len(run.prompts) / run.duration_s / len(gpus.servers.names)
    grid = Grid.over(run.duration_s, CHANGE_BUCKETS, max(1.0, 2 / ended_per_s))
    abouts = (
        ("throughput", beside.counted(events.ended, grid), -1.0),
        ("failures", beside.counted(events.failures, grid), 1.0),
        ("drops", beside.counted(events.drops, grid), 1.0),
    )
    for words, sign, values in _changing(gpus, events, grid):
        for about, counts, bad in abouts:
            if about != "throughput" and (counts.sum() < LEAST_CHANGES or words == _LOADED):
                continue  # a failure makes loads: the server lets go of its models
            found = lagged(grid.width_s, values, counts, MOST_LAG_BUCKETS * grid.width_s)
            if found is not None:
                harms = sign * bad * found.correlation >= LEAST_CORRELATION and found.lag_s >= 0
                yield _Tried(about, words, found, said=harms and found.points >= LEAST_CHANGES)


def _changing(gpus: _Gpus, events: _Events, grid: Grid) -> Iterator[tuple[str, float, Floats]]:
    """Words, whether up (1) or down (-1) is what harms, and the course."""

    def together(by_gpu: dict[str, Floats]) -> Floats:
        return gpus.servers.rows(by_gpu, grid, _mean_known)

    busy = together(beside.means(gpus.fine, "utilisation_ratio", grid))
    clocks = together(beside.means(gpus.slow, "sm_clock_hertz", grid))
    yield "VRAM in use rises", 1.0, together(beside.means(gpus.fine, "memory_used_bytes", grid))
    yield "utilisation rises", 1.0, busy
    yield "clocks fall", -1.0, np.where(np.nan_to_num(busy, nan=1.0) >= BUSY_RATIO, clocks, np.nan)
    yield "temperature rises", 1.0, together(beside.means(gpus.slow, "temperature_celsius", grid))
    if events.have_loads:
        yield _LOADED, 1.0, beside.counted(events.loads, grid)


def _mean_known(rows: Floats) -> Floats:
    """The mean over axis 0 of what is known."""
    known = np.isfinite(rows)
    found: Floats = np.full(rows.shape[1], np.nan)
    np.divide(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0), out=found, where=known.any(axis=0))
    return found

"""CGROUP_OOM: a server's container was killed for memory by its own limit, or its limit of CPU kept it waiting.

A kill is told by the kernel or the container engine. Throttling is counted by the kernel in periods of 0.1 s; some of
them are in every run of a container with a limit, so it takes a quarter of all periods over a minute or more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.findings.windows import centres_s
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.codes import Code

SAME_KILL = pd.Timedelta(seconds=30)  # the kernel's word and the engine's about one end of a container
TOLD_MOST = 3
THROTTLED_SHARE = 0.25  # of the periods in which it ran
THROTTLED_LEAST_S = 60.0  # of being watched
GIB = 1024**3
_PERIODS, _HIT, _HELD_S, _LIMIT = "cpu_periods", "cpu_periods_throttled", "cpu_throttled_s", "cpu_limit_cores"


@dataclass(frozen=True, slots=True)
class Throttled:
    """One server whose container was held back by its limit of CPU."""

    server: str
    first_s: float
    last_s: float
    periods: float
    hit: float
    held_s: float  # its threads together
    limit_cores: float


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding; a kill that kernel and engine both tell of counts once."""
    rows = event_rows(run)
    rows = rows[rows["code"] == Code.CGROUP_OOM.value].sort_values("moment")
    first = rows[~_repeats(rows)]
    throttled = sorted(_throttled(run), key=lambda one: -one.hit / one.periods)
    if first.empty and not throttled:
        return
    words = " ".join([*_kill_words(run, rows, first), *map(_throttled_words, throttled[:TOLD_MOST])])
    held = [
        (one.server, run.start + pd.Timedelta(seconds=at_s), one.server)
        for one in throttled for at_s in (one.first_s, one.last_s)
    ]  # fmt: skip
    parts = [first[["id", "moment", "server"]], pd.DataFrame(held, columns=["id", "moment", "server"])]
    together = pd.concat([part for part in parts if not part.empty], ignore_index=True)
    count = len(first) + len(throttled)
    yield finding(
        Code.CGROUP_OOM, together, words, states, count=count, chart="incidents" if len(first) else "hosts"
    )  # fmt: skip


def _kill_words(run: Run, rows: pd.DataFrame, first: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    said = [f"{server}: {detail}." for server, detail in zip(rows["server"], rows["detail"], strict=True)]
    more = [f"And {counted(len(said) - TOLD_MOST, 'event')} more."] if len(said) > TOLD_MOST else []
    return [*said[:TOLD_MOST], *more, *_before(run, first)]


def _repeats(rows: pd.DataFrame) -> pd.Series:
    """An end of the container shortly after a kill in it."""
    kills = rows["moment"].where(rows["kind"] == "container_oom_kill")
    lately = rows["moment"] - kills.groupby(rows["server"]).ffill() <= SAME_KILL
    return lately & (rows["kind"] != "container_oom_kill")


def _before(run: Run, events: pd.DataFrame) -> list[str]:
    """What the last reading before the first kill said of memory and of the limit of its server."""
    event = events.iloc[0]
    columns = ("memory_used_bytes", "memory_limit_bytes", "limit_hits")
    tracks = run.tracks("containers", columns, by="server").get(str(event["server"]))
    if tracks is None:
        return []
    used, limit, hits = (tracks[name].high for name in columns)
    place = int(run.coarse.index(np.array([max((event["moment"] - run.start).total_seconds(), 0.0)]))[0])
    known = np.flatnonzero(np.isfinite(used[:place]))
    if not known.size:
        return []
    last = known[-1]
    bound = f" of {limit[last] / GIB:.2f} GiB" if np.isfinite(limit[last]) else ""
    struck = f", the limit had been hit {counted(int(hits[last]), 'time')}" if hits[last] > 0 else ""
    before_s = max((event["moment"] - run.start).total_seconds() - last * run.coarse.width_s, 0.0)
    held = f"{used[last] / GIB:.2f} GiB{bound} in use{struck}"
    return [f"The last reading, {before_s:.1f} s before the first, had {held}."]


def _throttled(run: Run) -> Iterator[Throttled]:
    at_s = centres_s(run.coarse)
    for server, track in run.tracks("containers", (_PERIODS, _HIT, _HELD_S, _LIMIT), by="server").items():
        known = np.flatnonzero(np.isfinite(track[_PERIODS].mean) & np.isfinite(track[_HIT].mean))
        if known.size < 2:
            continue
        periods, hit, held = (_grown(track[name].mean[known]) for name in (_PERIODS, _HIT, _HELD_S))
        struck = hit > THROTTLED_SHARE * periods
        watched_s = float(at_s[known[-1]] - at_s[known[0]])
        if watched_s < THROTTLED_LEAST_S or hit.sum() < THROTTLED_SHARE * periods.sum() or not struck.any():
            continue
        limits = track[_LIMIT].mean[np.isfinite(track[_LIMIT].mean)]
        moments = at_s[known[1:][struck]]
        yield Throttled(
            server, float(moments[0]), float(moments[-1]), float(periods.sum()), float(hit.sum()), float(held.sum()),
            float(limits[-1]) if limits.size else float("nan"),
        )  # fmt: skip


def _grown(counter: Floats) -> Floats:
    """By how much it grew from each reading to the next; a counter that fell began anew."""
    grown = np.diff(counter)
    return np.where(grown > 0, grown, 0.0)


def _throttled_words(one: Throttled) -> str:
    limit = f" of {one.limit_cores:g} cores" if np.isfinite(one.limit_cores) else ""
    return (
        f"{one.server} was not killed but throttled: its CPU limit{limit} kept it waiting in "
        f"{one.hit / one.periods:.0%} of {one.periods:,.0f} periods, {one.held_s:,.0f} s of all its threads together."
    )

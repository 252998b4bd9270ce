"""OOM_STICKY: after running out of memory a GPU keeps more than before, with the same models loaded.

After an OOM ComfyUI unloads everything. What is compared are low points: of settles before and after, where there are
some on both sides, else of times with the same models loaded. A server that was started anew in between keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import MIB
from comfysoak_analysis.findings.whose import gpus
from comfysoak_analysis.findings.windows import CHANGING, centres_s, loaded_labels, starts_label
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.settles import settled_spans
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

RATIO = 1.10  # of before
LEAST_BYTES = 64 * MIB
FEWEST = 5  # low points on each side
BEFORE_S = 3600.0  # that long before the first OOM at most: older is not like now
_GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Stuck:
    """One GPU that keeps more after the last OOM than before the first."""

    uuid: str
    server: str | None
    first_s: float
    last_s: float
    ooms: int
    before: float
    after: float
    by: str


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, that which keeps most first."""
    ooms = run.notable[(run.notable["outcome"] == Outcome.OOM.value)].dropna(subset=["done_at"])
    if ooms.empty:
        return
    found = sorted(_all(run, states, ooms), key=lambda one: one.before - one.after)
    if found:
        rows = [
            (one.uuid, run.start + pd.Timedelta(seconds=at_s), one.server)
            for one in found for at_s in (one.first_s, one.last_s)
        ]  # fmt: skip
        settled = all("settle" in one.by for one in found)
        yield finding(
            Code.OOM_STICKY, pd.DataFrame(rows, columns=["id", "moment", "server"]).drop_duplicates(),
            " ".join(map(_words, found[:3])), states, count=len(found), chart="vram",
            certainty=Certainty.LIKELY if settled else Certainty.POSSIBLE,
            unless="Something else on this GPU took memory at the same moment."
            if settled else "Larger work after it made the allocator keep more; `settle` stages would tell.",
        )  # fmt: skip


def _all(run: Run, states: GpuStates, ooms: pd.DataFrame) -> Iterator[Stuck]:
    tracks = run.tracks("gpu", ("memory_used_bytes",))
    for gpu in gpus(run):
        mine = ooms[ooms["server"].isin(gpu.servers)] if gpu.servers else ooms
        if mine.empty or gpu.uuid not in tracks or len(gpu.servers) > 1:
            continue
        server, track = (gpu.servers or (None,))[0], tracks[gpu.uuid]["memory_used_bytes"]
        times = np.sort(run.since_start_s(mine["done_at"]))
        begun = np.zeros(track.grid.count) if server is None else starts_label(run, server, track.grid)
        last_start = begun[int(track.grid.index(times[-1:])[0])]
        times = times[begun[track.grid.index(times)] == last_start]
        same = begun == last_start
        found = _by_settles(run, track, times, same) or _by_models(run, states, server, track, times, same)
        if found is not None:
            before, after, by = found
            if after >= RATIO * before and after - before >= LEAST_BYTES:
                yield Stuck(gpu.uuid, server, float(times[0]), float(times[-1]), times.size, before, after, by)


def _by_settles(run: Run, track: Buckets, times: np.ndarray, same: np.ndarray) -> tuple[float, float, str] | None:
    """The median of settles before the first and after the last OOM."""
    before, after = list[float](), list[float]()
    for span in settled_spans(run):
        begin, end = ((edge - run.start).total_seconds() for edge in span)
        first, last = (int(place) for place in track.grid.index(np.array([begin, end])))
        lows = track.low[first : last + 1][same[first : last + 1]]
        if np.isfinite(lows).any() and (end < times[0] or begin > times[-1]):
            (before if end < times[0] else after).append(float(np.nanmin(lows)))
    return (float(np.median(before)), float(np.median(after)), "after a settle") if before and after else None


def _by_models(
    run: Run, states: GpuStates, server: str | None, track: Buckets, times: np.ndarray, same: np.ndarray
) -> tuple[float, float, str] | None:
    """Low points with the set of models that is most often there on both sides."""
    labels = None if server is None else loaded_labels(run, states, server, track.grid)
    if labels is None:
        return None
    at_s, known = centres_s(track.grid), np.isfinite(track.low) & same & (labels != CHANGING)
    slack = 2 * track.grid.width_s
    before = known & (at_s < times[0] - slack) & (at_s > times[0] - BEFORE_S)
    after = known & (at_s > times[-1] + slack)
    shared = set(labels[before].tolist()) & set(labels[after].tolist())
    best = max(shared, key=lambda one: min((labels[before] == one).sum(), (labels[after] == one).sum()), default=None)
    if best is None:
        return None
    lows = track.low[before & (labels == best)], track.low[after & (labels == best)]
    if min(part.size for part in lows) < FEWEST:
        return None
    was, is_ = (float(np.quantile(part, 0.25)) for part in lows)
    if np.quantile(lows[1], 0.1) <= np.quantile(lows[0], 0.9):  # as low as before at times: nothing is held
        return None
    return was, is_, "with the same models loaded"


def _words(one: Stuck) -> str:
    times = "an OOM" if one.ooms == 1 else f"{one.ooms:,} OOMs"
    return (
        f"{one.uuid} held {one.before / _GIB:,.2f} GiB {one.by} before {times} at {one.first_s:,.0f} s and "
        f"{one.after / _GIB:,.2f} GiB {one.by} after: {one.after / one.before:.0%} of before."
    )

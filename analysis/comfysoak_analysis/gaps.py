"""Stretches in which a GPU was not read: of the sampler's making, or because somebody else did not answer.

A GPU on this host that is not read means that the driver hangs or the sampler had no time: the run cannot be trusted.
An exporter, or a probe on another machine, is a server like the one under test, often on the same machine, and goes
away with it: that is what the run is there to find. The sampler's own readings of its host tell the two apart, for they
need nobody's answer. No gap at all is a time in which the GPU was not to be read (a pause of its probes), or in which
the driver said that it is lost: that is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_analysis.watched_gpus import Unread, WatchedGpu, watched_gpus
from comfysoak_analysis.watching import Stretch, paused
from comfysoak_core.clock import NS_PER_S

GAP_SHARE = 0.1  # of the run
GAP_LEAST_S = 2.0
_EXPORTER = "dcgm"
_STILL_SAMPLING = 0.5  # of the host readings due in a gap


def gaps(run: Run) -> Iterator[Doubt]:
    """The doubts about each GPU: one for gaps of the sampler, one for those of whoever else tells of it."""
    every = run.plan.probes.every_s if run.plan is not None else 0.1
    pauses = [pause for pause in paused(run) if pause.kind == "gpu"]
    for uuid, gpu in watched_gpus(run).items():
        paced_s = gpu.pace.median_s() if gpu.samples > 2 else every
        unread = [one for one in _to_the_end(run, gpu) if not one.lost]
        lasted = [_lasted_s(one, pauses) for one in unread]
        usual_s = max(every, paced_s)
        rows = [
            (pd.Timestamp(one.until_ns), lasted_s, one.source, gpu.host)
            for one, lasted_s in zip(unread, lasted, strict=True)
            if lasted_s > max(GAP_LEAST_S, 10 * usual_s)
        ]
        long = pd.DataFrame(rows, columns=["at", "lasted_s", "source", "host"])
        silent = np.array([_other_was_silent(run, *row) for row in _ends(long)], dtype=bool)
        yield from _ours(run, uuid, long[~silent]["lasted_s"])
        yield from _its(run, uuid, long[silent])


def _to_the_end(run: Run, gpu: WatchedGpu) -> list[Unread]:
    """The pauses of one GPU, with that until the end of load: what is never read again is a gap, too."""
    end_ns = min(run.load_end_ns, run.end_ns or 0)
    last = Unread(gpu.pace.last_ns, end_ns, gpu.source, gpu.last_lost)
    return [*gpu.unread, *([last] if end_ns > gpu.pace.last_ns else [])]


def _lasted_s(unread: Unread, pauses: list[Stretch]) -> float:
    """Seconds in which nothing was read that should have been."""
    lasted_ns = unread.until_ns - unread.since_ns
    for pause in pauses:
        paused_ns = min(unread.until_ns, pause.end.value) - max(unread.since_ns, pause.start.value)
        lasted_ns -= max(int(paused_ns), 0)
    return lasted_ns / NS_PER_S


def _ends(long: pd.DataFrame) -> Iterator[tuple[pd.Timestamp, float, str, str]]:
    yield from long[["at", "lasted_s", "source", "host"]].itertuples(index=False, name=None)


def _other_was_silent(run: Run, until: pd.Timestamp, lasted_s: float, source: str, host: str) -> bool:
    """Whether the sampler went on reading its own host while somebody else told it nothing of this GPU."""
    here = {one.name for one in run.recording.run.hosts}
    if source != _EXPORTER and (not here or host in here):
        return False
    rows = run.once(_host_readings)
    own = rows[rows["host"].isin(here)] if here else rows
    since = until - pd.Timedelta(seconds=lasted_s)
    readings = int(own["at"].between(since, until).sum())
    every = run.plan.probes.host_every_s if run.plan is not None else 1.0
    return readings >= _STILL_SAMPLING * lasted_s / every


def _host_readings(run: Run) -> pd.DataFrame:
    return run.lean("host", ("at_ns", "host"))


def _ours(run: Run, uuid: str, lasted_s: pd.Series) -> Iterator[Doubt]:
    if not lasted_s.empty:
        weight = Weight.INVALID if _share(run, lasted_s) > GAP_SHARE else Weight.CAUTION
        yield Doubt(
            "sampler gaps",
            weight,
            f"{uuid} was not read for {_in_words(run, lasted_s)}.",
            "Look for a hung driver, or a machine without time for the sampler.",
        )


def _its(run: Run, uuid: str, long: pd.DataFrame) -> Iterator[Doubt]:
    if long.empty:
        return
    lasted_s, last = long["lasted_s"], long.iloc[-1]
    if last["source"] == _EXPORTER:
        what, name = f"The exporter of {uuid} did not answer", "exporter gaps"
    else:
        what, name = f"The probe on {last['host']} told nothing of {uuid}", "remote probe gaps"
    yield Doubt(
        name,
        Weight.CAUTION,
        f"{what} for {_in_words(run, lasted_s)}; nothing is known of the GPU then.",
        "Look whether its machine was up and had time; the other figures do not depend on it.",
    )


def _in_words(run: Run, lasted_s: pd.Series) -> str:
    return f"{float(lasted_s.max()):.1f} s at a time, {_share(run, lasted_s):.0%} of the run in all"


def _share(run: Run, lasted_s: pd.Series) -> float:
    return float(lasted_s.sum()) / max(run.duration_s, 1e-9)

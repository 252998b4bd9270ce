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
    for uuid, samples in run.gpu.groupby("uuid"):
        part = _to_the_end(run, samples)
        usual = max(every, float(part["at"].diff().dt.total_seconds().median()) if len(part) > 2 else every)
        lasted = _unread_s(part, pauses)
        long = part.assign(lasted_s=lasted)[lasted > max(GAP_LEAST_S, 10 * usual)]
        silent = np.array([_other_was_silent(run, *row) for row in _ends(long)], dtype=bool)
        yield from _ours(run, str(uuid), long[~silent]["lasted_s"])
        yield from _its(run, str(uuid), long[silent])


def _to_the_end(run: Run, part: pd.DataFrame) -> pd.DataFrame:
    """`part` with the end of load as its last row, where that is later: what is never read again is a gap, too."""
    end = min(pd.Timestamp(run.load_end_ns), run.end)
    last = part.tail(1)
    return part if end <= last["at"].iloc[0] else pd.concat([part, last.assign(at=end)], ignore_index=True)


def _unread_s(part: pd.DataFrame, pauses: list[Stretch]) -> pd.Series:
    """Seconds before each row in which nothing was read that should have been; 0 while the GPU was told to be lost."""
    at_ns = part["at"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
    since_ns = np.concatenate([at_ns[:1], at_ns[:-1]])
    unread_ns = at_ns - since_ns
    for pause in pauses:
        unread_ns -= np.clip(np.minimum(at_ns, pause.end.value) - np.maximum(since_ns, pause.start.value), 0, None)
    lost = part["missing"].fillna("").str.startswith("all:").shift(fill_value=False)
    return pd.Series(unread_ns / NS_PER_S, index=part.index).mask(lost, 0.0)


def _ends(long: pd.DataFrame) -> Iterator[tuple[pd.Timestamp, float, str, str]]:
    yield from long[["at", "lasted_s", "source", "host"]].itertuples(index=False, name=None)


def _other_was_silent(run: Run, until: pd.Timestamp, lasted_s: float, source: str, host: str) -> bool:
    """Whether the sampler went on reading its own host while somebody else told it nothing of this GPU."""
    here = {one.name for one in run.recording.run.hosts}
    if source != _EXPORTER and (not here or host in here):
        return False
    own = run.host[run.host["host"].isin(here)] if here else run.host
    since = until - pd.Timedelta(seconds=lasted_s)
    readings = int(own["at"].between(since, until).sum())
    every = run.plan.probes.host_every_s if run.plan is not None else 1.0
    return readings >= _STILL_SAMPLING * lasted_s / every


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

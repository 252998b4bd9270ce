"""Stretches in which a GPU was not read: of the sampler's making, or because its exporter did not answer.

A GPU on this host that is not read means that the driver hangs or the sampler had no time: the run cannot be trusted.
An exporter is a server like the one under test, often on the same machine, and goes away with it: that is what the run
is there to find. The sampler's own readings of its host tell the two apart, for they need nobody's answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.verdict import Doubt, Weight

GAP_SHARE = 0.1  # of the run
GAP_LEAST_S = 2.0
_EXPORTER = "dcgm"
_STILL_SAMPLING = 0.5  # of the host readings due in a gap


def gaps(run: Run) -> Iterator[Doubt]:
    """The doubts about each GPU: one for gaps of the sampler, one for those of its exporter."""
    every = run.plan.probes.every_s if run.plan is not None else 0.1
    for uuid, samples in run.gpu.groupby("uuid"):
        part = _to_the_end(run, samples)
        lasted = part["at"].diff().dt.total_seconds()
        usual = max(every, float(np.nanmedian(lasted)) if len(lasted) > 1 else every)
        long = part.assign(lasted_s=lasted)[lasted > max(GAP_LEAST_S, 10 * usual)]
        silent = np.array([_exporter_was_silent(run, *row) for row in _ends(long)], dtype=bool)
        yield from _ours(run, str(uuid), long[~silent]["lasted_s"])
        yield from _its(run, str(uuid), long[silent]["lasted_s"])


def _to_the_end(run: Run, part: pd.DataFrame) -> pd.DataFrame:
    """`part` with the end of load as its last row, where that is later: what is never read again is a gap, too."""
    end = min(pd.Timestamp(run.load_end_ns), run.end)
    last = part.tail(1)
    return part if end <= last["at"].iloc[0] else pd.concat([part, last.assign(at=end)], ignore_index=True)


def _ends(long: pd.DataFrame) -> Iterator[tuple[pd.Timestamp, float, str]]:
    yield from long[["at", "lasted_s", "source"]].itertuples(index=False, name=None)


def _exporter_was_silent(run: Run, until: pd.Timestamp, lasted_s: float, source: str) -> bool:
    """Whether the sampler went on reading its host while it read nothing of this GPU."""
    if source != _EXPORTER:
        return False
    since = until - pd.Timedelta(seconds=lasted_s)
    readings = int(run.host["at"].between(since, until).sum())
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


def _its(run: Run, uuid: str, lasted_s: pd.Series) -> Iterator[Doubt]:
    if not lasted_s.empty:
        yield Doubt(
            "exporter gaps",
            Weight.CAUTION,
            f"The exporter of {uuid} did not answer for {_in_words(run, lasted_s)}; nothing is known of the GPU then.",
            "Look whether its machine was up and had time; the other figures do not depend on it.",
        )


def _in_words(run: Run, lasted_s: pd.Series) -> str:
    return f"{float(lasted_s.max()):.1f} s at a time, {_share(run, lasted_s):.0%} of the run in all"


def _share(run: Run, lasted_s: pd.Series) -> float:
    return float(lasted_s.sum()) / max(run.duration_s, 1e-9)

"""How often GPU values of exporters are refreshed: between two refreshes the same values are told again and again.

The sampler learns it and tells it by an event (`source_interval`). Rows carry the time of the scrape, so that without
it a value of half a minute ago would be taken for one of now, and a hundred repetitions for a hundred samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import parts
from comfysoak_analysis.text import bounded
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_analysis.watched_gpus import BUSY as BUSY_RATIO
from comfysoak_analysis.watched_gpus import EXPORTER, WatchedGpu, watched_gpus
from comfysoak_core.clock import NS_PER_S

COARSE_S = 2.0
BUSY, ASLEEP = 0.5, 1e-6
_REMEDY = "DCGM_EXPORTER_INTERVAL=1000 makes dcgm-exporter refresh its values every second."
_ASLEEP_REMEDY = (
    "Restart dcgm-exporter, or run `dcgmi dmon -e 1002 -c 1` beside it: its profiling module has gone to sleep."
)


@dataclass(frozen=True, slots=True)
class Refresh:
    """One exporter, and the seconds between two refreshes of its values; not `known`: at least so many."""

    source: str
    seconds: float
    known: bool

    @property
    def host(self) -> str:
        """The machine the exporter is asked at."""
        try:
            return urlsplit(self.source.removeprefix(EXPORTER).strip()).hostname or self.source
        except ValueError:
            return self.source

    def in_words(self) -> str:
        """For beside the figures of GPUs."""
        every = f"every {self.seconds:.1f} s" if self.known else f"no more often than every {self.seconds:.0f} s"
        missed = "a peak shorter than that may not be in them"
        return f"GPU values of {bounded(self.host, 60)} are refreshed {every}: {missed}."


def refreshes(run: Run) -> tuple[Refresh, ...]:
    """Of each exporter the last interval that was told, if any was."""
    events = run.events
    told = events[(events["kind"] == "source_interval") & (events["seconds"] > 0)].dropna(subset=["subject"])
    return tuple(
        Refresh(str(row["subject"]), float(row["seconds"]), known="not changed" not in str(row["detail"]))
        for _, row in told.drop_duplicates("subject", keep="last").sort_values("subject").iterrows()
    )


def intervals_s(run: Run) -> dict[str, float]:
    """Seconds between two refreshes of each GPU of which an exporter told that, by UUID."""
    told = {one.source: one.seconds for one in refreshes(run)}
    if not told:
        return {}
    of_exporters = [gpu.uuid for gpu in watched_gpus(run).values() if gpu.source == EXPORTER]
    seen = run.events[(run.events["kind"] == "gpu") & run.events["subject"].isin(of_exporters)]
    by = (
        (str(uuid), str(detail).rpartition(", by ")[2])
        for uuid, detail in zip(seen["subject"], seen["detail"], strict=True)
    )
    return {uuid: told[source] for uuid, source in by if source in told}


def samples(run: Run, gpu: WatchedGpu) -> int:
    """How many of a GPU's rows can be new: all, or one for each refresh of its exporter."""
    interval_s = intervals_s(run).get(gpu.uuid, 0.0)
    if not interval_s or gpu.source != EXPORTER:
        return gpu.samples
    lasted_s = (gpu.pace.last_ns - gpu.pace.first_ns) / NS_PER_S
    return min(gpu.samples, int(lasted_s / interval_s) + 1)


def exporter_doubts(run: Run, *, gpu_matters: bool) -> Iterator[Doubt]:
    """Coarse values, with weight where goals or findings rest on them, and profiling series that fell asleep."""
    for refresh in refreshes(run):
        weight = Weight.CAUTION if gpu_matters and refresh.seconds >= COARSE_S else Weight.NOTE
        yield Doubt("exporter interval", weight, refresh.in_words(), _REMEDY if refresh.seconds >= COARSE_S else "")
    for uuid, active in run.once(_activity_of_exporters).items():
        gpu = watched_gpus(run).get(uuid)
        busy = gpu.held[BUSY_RATIO] if gpu is not None else None
        if active < ASLEEP and busy is not None and busy.count and busy.total / busy.count > BUSY:
            yield Doubt(
                "profiling asleep",
                Weight.CAUTION,
                f"{bounded(uuid, 60)} was busy {busy.total / busy.count:.0%} of the time, and its profiling series "
                "always said 0.",
                _ASLEEP_REMEDY,
            )


def _activity_of_exporters(run: Run) -> dict[str, float]:
    """The most activity that profiling series of an exporter ever told, by GPU; of those that tell any."""
    most: dict[str, float] = {}
    columns = ("sm_active_ratio", "graphics_active_ratio")
    for part in parts(run.reader("gpu_slow"), "gpu_slow", "uuid", columns):
        sm, graphics = (part.values[name] for name in columns)
        active = np.where(np.isnan(sm), graphics, sm)
        active = active[~np.isnan(active)]
        if part.source == EXPORTER and len(active):
            most[part.subject] = max(most.get(part.subject, 0.0), float(active.max()))
    return most

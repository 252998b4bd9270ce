"""STRAGGLER: one server of several takes longer for the same workflow than the others do at the same time.

Each prompt is compared with those of its workflow in the same stretch of time, so a mix that differs, or an hour that
was slow for all, is none. Prompts that loaded a model are left out: who has to load more is MODEL_THRASH.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.machine.throttled import slowed
from comfysoak_analysis.findings.services import Services, services
from comfysoak_analysis.findings.whose import gpus_of
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.comparison import rank_test
from comfysoak_core.codes import Code

SLOWER = 1.10  # than the median of the others
CHANCE = 0.01  # of one false alarm among all servers
FEWEST_PROMPTS = 30  # a server
FEWEST_BUCKETS, BUCKETS = 8, 30
LASTING = 0.7  # of the buckets it must be slower in: a bad quarter of an hour is none


@dataclass(frozen=True, slots=True)
class Straggler:
    """One server; `ratio` is its service time against that of the others, in the median of the buckets."""

    server: str
    ratio: float
    p: float
    prompts: int
    buckets: int
    slower_in: int


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the slowest first."""
    all_of = services(run, states)
    found = sorted(_stragglers(all_of, _unlike(run)), key=lambda one: -one.ratio)
    if found:
        began, ended = float(all_of.at_s.min()), float(all_of.at_s.max())
        edges = [run.start + pd.Timedelta(seconds=at_s) for at_s in (began, ended)]
        rows = [(one.server, edge, one.server) for one in found for edge in edges]
        yield finding(
            Code.STRAGGLER, pd.DataFrame(rows, columns=["id", "moment", "server"]),
            " ".join(_words(run, one) for one in found[:3]), states, count=len(found), certainty=Certainty.LIKELY,
            unless="It has another GPU, other settings or other work than the rest, on purpose.", chart="service",
        )  # fmt: skip


def _stragglers(all_of: Services, unlike: frozenset[str]) -> Iterator[Straggler]:
    ratios = _ratios(all_of)
    counts = np.bincount(all_of.server[~all_of.is_cold], minlength=len(all_of.servers))
    tested = np.flatnonzero(counts >= FEWEST_PROMPTS).tolist()
    for number in tested if len(tested) > 1 else ():
        mine, others = ratios[ratios["server"] == number], ratios[ratios["server"] != number]
        name = all_of.servers[number]
        if len(mine) < FEWEST_BUCKETS or others.empty or name in unlike:
            continue
        p = rank_test(others["log"].tolist(), mine["log"].tolist(), greater=True)
        ratio = float(np.exp(mine["against"].median()))
        slower_in = int((mine["against"] > np.log(SLOWER) / 2).sum())
        if p * len(tested) < CHANCE and ratio >= SLOWER and slower_in >= LASTING * len(mine):
            yield Straggler(name, ratio, p, int(counts[number]), len(mine), slower_in)


def _ratios(all_of: Services) -> pd.DataFrame:
    """For each server, workflow and bucket: how it lies to all (`log`) and to the median of the others (`against`)."""
    warm = ~all_of.is_cold
    at_s = all_of.at_s[warm]
    if not at_s.size:
        return pd.DataFrame({"server": [], "log": [], "against": []})
    since = at_s - at_s.min()
    bucket = np.minimum((since * BUCKETS / max(float(since.max()), 1e-9)).astype(np.int64), BUCKETS - 1)
    rows = pd.DataFrame(
        {"bucket": bucket, "workflow": all_of.workflow[warm], "server": all_of.server[warm], "log": all_of.log_s[warm]}
    )
    medians = rows.groupby(["bucket", "workflow", "server"], sort=True)["log"].median().unstack("server")
    medians = medians[medians.notna().sum(axis=1) > 1]
    table = medians.to_numpy(dtype=float)
    parts = []
    for place, number in enumerate(medians.columns):
        rest = np.delete(table, place, axis=1)
        here = np.isfinite(table[:, place]) & np.isfinite(rest).any(axis=1)
        own, others = table[here, place], np.nanmedian(rest[here], axis=1) if here.any() else np.array([])
        middle = np.nanmedian(table[here], axis=1) if here.any() else np.array([])
        parts.append(pd.DataFrame({"server": number, "log": own - middle, "against": own - others}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"server": [], "log": [], "against": []})


def _unlike(run: Run) -> frozenset[str]:
    """Servers with another kind of device than most: that they are slower is no surprise."""
    kinds = {fact.url: tuple(sorted(fact.devices)) for fact in run.recording.run.servers if fact.devices}
    usual = pd.Series(list(kinds.values()), dtype=object).mode()
    return frozenset(url for url, kind in kinds.items() if len(usual) == 1 and kind != usual.iloc[0])


def _words(run: Run, one: Straggler) -> str:
    said = (
        f"{one.server} took {one.ratio:.2f} times as long as the others for the same workflows at the same time "
        f"({one.prompts:,} prompts; slower in {one.slower_in:,} of {one.buckets:,} comparisons)."
    )
    mine = set(gpus_of(run, one.server))
    held = [slow for slow in slowed(run) if slow.uuid in mine]
    return said + (f" Its GPU {held[0].uuid} was held down by {held[0].why}." if held else "")

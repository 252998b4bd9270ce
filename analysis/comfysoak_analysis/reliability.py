"""How often servers stopped working, and how long until they worked again.

A failure is a stretch in which a server did nothing right: prompts that failed one after the other, or ended because
it went away, count as one, up to the next success. What its user or its sender did (a broken workflow, patience that
ended, an interrupt) is none. Rates come with an exact interval: no failure in 576 GPU-hours shows at most one in 192.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.efficiency import gpus_in_use
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import measured_s
from comfysoak_analysis.statistics.rates import rate_at_most, rate_interval
from comfysoak_core.rows import Outcome

BROKE = tuple(
    outcome.value for outcome in (Outcome.FAILED, Outcome.OOM, Outcome.TIMEOUT, Outcome.VANISHED, Outcome.LOST)
)
PER_HOURS = 1000.0


@dataclass(frozen=True, slots=True)
class Failure:
    """One time a server stopped working; `recovered_s` is None where it did not work again before the end."""

    server: str
    began: pd.Timestamp
    prompts: int
    recovered_s: float | None


@dataclass(frozen=True, slots=True)
class Reliability:
    """Failures over the GPU-hours under load; rates are by 1,000 GPU-hours, with their 95 % interval."""

    failures: tuple[Failure, ...]
    gpus: int
    gpu_hours: float
    rate: float
    low: float
    high: float

    @property
    def recovery_max_s(self) -> float:
        """The longest; infinite where a server never worked again, NaN where there was no failure."""
        known = [math.inf if one.recovered_s is None else one.recovered_s for one in self.failures]
        return max(known, default=math.nan)

    def in_words(self) -> str:
        """What this run shows, and no more."""
        if not self.gpu_hours:
            return ""
        hours = f"{self.gpu_hours:,.3g} GPU-hours"
        once_in = 1 / self.high * PER_HOURS
        if not self.failures:
            return f"No failure in {hours} shows at most one in {once_in:,.3g} GPU-hours, not that there is none."
        times = "1 failure" if len(self.failures) == 1 else f"{len(self.failures):,} failures"
        said = f"{times} in {hours}: one in {1 / self.rate * PER_HOURS:,.3g}"
        return f"{said} (95 %: between one in {once_in:,.3g} and one in {_once_in(self.low)})."


def _once_in(rate: float) -> str:
    return f"{PER_HOURS / rate:,.3g}" if rate > 0 else "any number"


_OF_FAILURES = ["outcome", "ok", "code", "done_at"]


def reliability(run: Run, servers: Collection[str] | None = None) -> Reliability:
    """Of all servers, or of these."""
    prompts = run.prompts
    chosen = (prompts["measured"] & (prompts["server"].isin(list(servers)) if servers is not None else True)).to_numpy()
    failures = tuple(
        one
        for server in sorted(prompts["server"].dropna().unique())
        for one in failures_of(
            str(server), prompts.loc[chosen & (prompts["server"] == server).to_numpy(), _OF_FAILURES]
        )
    )
    gpus = gpus_in_use(run, servers)
    gpu_hours = gpus * measured_s(prompts, chosen) / 3600
    if gpu_hours <= 0:
        return Reliability(failures, gpus, 0.0, math.nan, math.nan, math.nan)
    exposure = gpu_hours / PER_HOURS
    if not failures:
        return Reliability(failures, gpus, gpu_hours, 0.0, 0.0, rate_at_most(exposure))
    interval = rate_interval(len(failures), exposure)
    return Reliability(failures, gpus, gpu_hours, len(failures) / exposure, interval.low, interval.high)


def failures_of(server: str, prompts: pd.DataFrame) -> Iterator[Failure]:
    """The failures of one server by its measured prompts: each from a broken prompt to the next success."""
    broke = (prompts["outcome"].isin(BROKE) & ~prompts["ok"]).to_numpy(dtype=bool)
    worked = ((prompts["outcome"] == Outcome.SUCCESS.value) & prompts["ok"]).to_numpy(dtype=bool)
    done = prompts["done_at"].to_numpy().astype("datetime64[ns]")
    order = np.argsort(done, kind="stable")
    order = order[(broke | worked)[order] & ~np.isnat(done[order])]
    bad = broke[order]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bad.astype(np.int8), [0]))))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        began = done[order[first]]
        back = (done[order[after]] - began) / np.timedelta64(1, "s") if after < len(order) else None
        yield Failure(server, pd.Timestamp(began), int(after - first), None if back is None else float(back))

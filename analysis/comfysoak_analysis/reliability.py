"""How often servers stopped working, and how long until they worked again.

A failure is a stretch in which a server did nothing right: prompts that failed one after the other, or ended because
it went away, count as one, up to the next success; so does a server that was away while it had no prompt. What its user
or its sender did (a broken workflow, patience that ended, an interrupt) is none. Rates come with an exact interval: no
failure in 576 GPU-hours shows at most one in 192.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.efficiency import gpus_in_use
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import measured_s
from comfysoak_analysis.statistics.rates import rate_at_most, rate_interval
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.quantities import format_duration

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

    def in_words(self, unit: str = "GPU") -> str:
        """What this run shows, and no more; `unit`: whose hours they are."""
        if not self.gpu_hours:
            return ""
        hours, at_worst = _time(self.gpu_hours, unit), _time(PER_HOURS / self.high, unit)
        if not self.failures:
            return f"No failure in {hours} shows at most one in {at_worst}, not that there is none."
        times = "1 failure" if len(self.failures) == 1 else f"{len(self.failures):,} failures"
        at_best = _time(PER_HOURS / self.low, unit) if self.low > 0 else "any time"
        between = f"95 %: between one in {at_worst} and one in {at_best}"
        return f"{times} in {hours}: one in {_time(PER_HOURS / self.rate, unit)} ({between})."


def _time(hours: float, unit: str) -> str:
    """`576 GPU-hours`, and `5 min 24 s of a GPU`, which nobody reads as a part of an hour."""
    return f"{hours:,.3g} {unit}-hours" if hours >= 1 else f"{format_duration(round(hours * 3600, 1))} of a {unit}"


_OF_FAILURES = ["outcome", "ok", "started_at", "done_at"]
_AWAY = (Code.SERVER_DOWN.value, Code.SERVER_RESTARTED.value)


def reliability(run: Run, servers: Collection[str] | None = None) -> Reliability:
    """Of all servers, or of these."""
    return run.once(_of_all) if servers is None else _of(run, servers)


def _of_all(run: Run) -> Reliability:
    return _of(run, None)


def _of(run: Run, servers: Collection[str] | None) -> Reliability:
    prompts = run.prompts
    chosen = (prompts["measured"] & (prompts["server"].isin(list(servers)) if servers is not None else True)).to_numpy()
    failures = tuple(
        one
        for server in sorted(prompts["server"].dropna().unique())
        for one in _of_server(run, str(server), chosen & (prompts["server"] == server).to_numpy())
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


def _of_server(run: Run, server: str, chosen: np.ndarray) -> Iterator[Failure]:
    rows = run.prompts.loc[chosen, _OF_FAILURES]
    return failures_of(server, rows, _away(run, server, rows["done_at"]))


def failures_of(server: str, prompts: pd.DataFrame, away: Sequence[pd.Timestamp] = ()) -> Iterator[Failure]:
    """The failures of one server: each from a broken prompt, or a moment at which it was away, to the next success.

    That success began afterwards: one that was done already, and only fetched later, is no sign of recovery.
    """
    broke = (prompts["outcome"].isin(BROKE) & ~prompts["ok"]).to_numpy(dtype=bool)
    worked = ((prompts["outcome"] == Outcome.SUCCESS.value) & prompts["ok"]).to_numpy(dtype=bool)
    done, started = (prompts[name].to_numpy().astype("datetime64[ns]") for name in ("done_at", "started_at"))
    told = (broke | worked) & ~np.isnat(done)
    moments = np.array([at.to_datetime64() for at in away], dtype="datetime64[ns]")
    done, started = np.concatenate((done[told], moments)), np.concatenate((started[told], moments))
    bad = np.concatenate((broke[told], np.ones(moments.size, dtype=bool)))
    counts = np.arange(bad.size) < bad.size - moments.size  # what is a prompt
    order = np.lexsort((~bad, done))
    done, started, bad, counts = (values[order] for values in (done, started, bad, counts))
    started = np.where(np.isnat(started), done, started)
    starts, ends, good = np.flatnonzero(bad), np.cumsum(bad & counts), np.flatnonzero(~bad)
    first = int(starts[0]) if starts.size else bad.size
    while first < bad.size:
        after = _recovered(started, good, first)
        prompts_lost = int(ends[min(after, bad.size) - 1] - ends[first] + counts[first])
        back = float((done[after] - done[first]) / np.timedelta64(1, "s")) if after < bad.size else None
        yield Failure(server, pd.Timestamp(done[first]), prompts_lost, back)
        following = np.searchsorted(starts, after)
        first = int(starts[following]) if following < starts.size else bad.size


def _recovered(started: np.ndarray, good: np.ndarray, first: int) -> int:
    """The place of the first success after `first` that began later than what failed; the size where there is none."""
    for place in good[np.searchsorted(good, first) :]:
        if started[place] > started[first]:
            return int(place)
    return int(started.size)


def _away(run: Run, server: str, times: pd.Series) -> list[pd.Timestamp]:
    """When it refused connections or had restarted, and was not meant to, in the time that is measured."""
    rows = event_rows(run)
    rows = rows[rows["code"].isin(_AWAY) & (rows["server"] == server)]
    return list(rows.loc[rows["moment"].between(times.min(), times.max()), "moment"])

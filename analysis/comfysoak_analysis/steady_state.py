"""From when on the target was warm: found by MSER-5 in the first stretch of constant load.

What is told here is left out of all figures where the scenario declared no warm-up of its own; where it declared one,
it is only said whether that was long enough. Looked for it is only where the load stays the same: in a ramp, a wave or
a search what changes is the load.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from comfysoak_analysis.prompts import NOT_MEASURED_PHASES
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.statistics.steady import BATCH, FEWEST_BATCHES, Steady, steady_from
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.quantities import format_duration
from comfysoak_core.scenario.stage import TRIAL, WARMUP, Stage

PROMPTS_A_BUCKET, MOST_BUCKETS = 5, 400
BROKEN = 0.05  # of the prompts before or after a warm-up: then that is none
LONGEST_RATIO = 4.0  # of a prompt's latency to the median of its workflow: what hangs is no warm-up


class Stretch(Protocol):
    """A phase of the load."""

    @property
    def name(self) -> str:
        """As the scenario has it."""

    @property
    def started_ns(self) -> int:
        """Its first moment."""

    @property
    def ended_ns(self) -> int:
        """Its last."""


@dataclass(frozen=True, slots=True)
class _Joined:
    name: str
    started_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class SteadyState:
    """What was found in the stretch from `began_ns`; `warm_ns` is the end of the warm-up, None where there was none.

    `is_steady` False: it drifted to the end, and nothing is left out. `declared`: the scenario has a warm-up before.
    """

    began_ns: int
    warm_ns: int | None
    is_steady: bool
    declared: bool

    @property
    def measured_from_ns(self) -> int | None:
        """Prompts of the stretch due before this are in no figure; None: all are."""
        return self.warm_ns if self.is_steady and not self.declared else None

    @property
    def words(self) -> str:
        """In a sentence."""
        if not self.is_steady:
            return "No steady state: under constant load latency or throughput still drifted at the end."
        if self.warm_ns is None:
            more = " after the warm-up" if self.declared else ""
            return f"Steady from the start{more}: no warm-up was detected."
        lasted = format_duration(round((self.warm_ns - self.began_ns) / NS_PER_S))
        if self.declared:
            return f"The declared warm-up was too short: it took {lasted} more to be steady, and figures hold these."
        return f"It took {lasted} to be steady; this warm-up is in no figure. Declare one, to choose its length."


def steady_state(prompts: pd.DataFrame, phases: Sequence[Stretch], plan: Plan | None) -> SteadyState | None:
    """Of `prompts` (see `prompts.py`) in the first phase that is measured.

    None where its load is not constant all along, and where it has too few prompts to tell.
    """
    stretch = _first(phases)
    if stretch is None or plan is None or not _is_constant(plan, stretch.name):
        return None
    began = np.datetime64(stretch.started_ns, "ns")
    inside = (prompts["phase"] == stretch.name).to_numpy(dtype=bool) & prompts["timeable"].to_numpy(dtype=bool)
    done_s, due_s = (_seconds(prompts[name].to_numpy()[inside], began) for name in ("done_at", "scheduled"))
    lasting_s = (stretch.ended_ns - stretch.started_ns) / NS_PER_S
    chosen = np.isfinite(done_s) & (done_s <= lasting_s)
    count = int(min(chosen.sum() // PROMPTS_A_BUCKET, MOST_BUCKETS))
    if count < BATCH * FEWEST_BATCHES or lasting_s <= 0:
        return None
    ratios = _to_usual(prompts["latency_s"].to_numpy(dtype=float)[inside], prompts["workflow"][inside])
    found = [
        steady_from(*_throughput(done_s[chosen], lasting_s, count)),
        steady_from(*_means(due_s, ratios, lasting_s, count)),
    ]
    declared = any(one.name == WARMUP and one.started_ns <= stretch.started_ns for one in phases)
    joined = _joined([one for one in found if one is not None], stretch, lasting_s / count, declared=declared)
    return None if joined is not None and _broke(prompts, stretch, joined.warm_ns) else joined


def _broke(prompts: pd.DataFrame, stretch: _Joined, warm_ns: int | None) -> bool:
    """Whether what changed is how many fail: left out, that would hide the failures, or how well it had run before."""
    if warm_ns is None:
        return False
    inside = (prompts["phase"] == stretch.name).to_numpy(dtype=bool) & prompts["intended"].to_numpy(dtype=bool)
    failed = ~prompts["ok"].to_numpy(dtype=bool)
    done = prompts["done_at"].to_numpy().astype("datetime64[ns]")
    later = done >= np.datetime64(warm_ns, "ns")
    less, more = sorted(
        float(failed[inside & part].mean()) if (inside & part).any() else 0.0 for part in (~later, later)
    )
    return more > BROKEN and more > 2 * less


def leave_out(prompts: pd.DataFrame, found: SteadyState | None) -> pd.DataFrame:
    """`prompts` with what was due before it was warm taken out of `measured` and `timed`, in place."""
    until_ns = found.measured_from_ns if found is not None else None
    if until_ns is None:
        return prompts
    early = (prompts["scheduled"] < pd.Timestamp(until_ns)).to_numpy(dtype=bool)
    for column in ("measured", "timed"):
        prompts[column] = prompts[column].to_numpy(dtype=bool) & ~early
    return prompts


def _first(phases: Sequence[Stretch]) -> _Joined | None:
    """The first measured phase, with those of its name that follow at once."""
    rest = itertools.dropwhile(lambda one: one.name in NOT_MEASURED_PHASES, phases)
    for name, parts in itertools.groupby(rest, key=lambda one: one.name):
        same = list(parts)
        return _Joined(name, same[0].started_ns, same[-1].ended_ns)
    return None


def _is_constant(plan: Plan, phase: str) -> bool:
    """Whether all stages of a phase are of one and the same load."""
    stages = [stage for stage in plan.stages if stage.phase == phase]
    levels = {_level(stage) for stage in stages}
    return not phase.startswith(TRIAL) and len(levels) == 1 and None not in levels


def _level(stage: Stage) -> tuple[str, float] | None:
    """What load a stage has all along; None where it changes."""
    if stage.search is not None or stage.replay is not None or stage.cold_start is not None:
        return None
    curve: Any = stage.users if stage.users is not None else stage.arrivals.rate_per_s if stage.arrivals else None
    if curve is None or curve.kind != "line" or curve.start != curve.end:
        return None
    return ("users" if stage.users is not None else "arrivals", curve.start)


def _seconds(moments: np.ndarray, began: np.datetime64) -> Floats:
    """NaN where there is none."""
    since: Floats = (moments.astype("datetime64[ns]") - began) / np.timedelta64(NS_PER_S, "ns")
    return since


def _to_usual(latencies: Floats, workflows: pd.Series) -> Floats:
    """Each latency as a share of the median of its workflow, so that a change of the mix is none of latency."""
    codes, _ = pd.factorize(workflows)
    found = np.full(latencies.size, np.nan)
    for code in np.unique(codes):
        mine = codes == code
        usual = float(np.nanmedian(latencies[mine])) if np.isfinite(latencies[mine]).any() else 0.0
        if usual > 0:
            found[mine] = np.minimum(latencies[mine] / usual, LONGEST_RATIO)
    return found


def _throughput(done_s: Floats, lasting_s: float, count: int) -> tuple[Floats, Floats]:
    """Ends in each bucket, from the first one with any on: before, nothing could have ended."""
    index = np.clip((done_s[done_s >= 0] / lasting_s * count).astype(np.int64), 0, count - 1)
    ends: Floats = np.bincount(index, minlength=count).astype(float)
    first = int(np.flatnonzero(ends)[0]) + 1 if ends.any() else 0
    return _begins(lasting_s, count)[first:], ends[first:]


def _begins(lasting_s: float, count: int) -> Floats:
    begins: Floats = np.arange(count, dtype=float) * (lasting_s / count)
    return begins


def _means(due_s: Floats, ratios: Floats, lasting_s: float, count: int) -> tuple[Floats, Floats]:
    """The mean in each bucket; NaN in one without."""
    known = np.isfinite(ratios) & (due_s >= 0) & (due_s < lasting_s)
    index = (due_s[known] / lasting_s * count).astype(np.int64)
    counts = np.bincount(index, minlength=count)
    means: Floats = np.full(count, np.nan)
    np.divide(np.bincount(index, weights=ratios[known], minlength=count), counts, out=means, where=counts > 0)
    return _begins(lasting_s, count), means


def _joined(found: Sequence[Steady], stretch: _Joined, bucket_s: float, *, declared: bool) -> SteadyState | None:
    if not found:
        return None
    warm_s = max(one.from_s for one in found)
    # The first batch of throughput is low until the first users are through: that alone is no warm-up.
    warm_ns = stretch.started_ns + round(warm_s * NS_PER_S) if warm_s > (BATCH + 2) * bucket_s else None
    return SteadyState(stretch.started_ns, warm_ns, all(one.is_steady for one in found), declared)

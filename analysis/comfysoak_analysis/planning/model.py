"""One demand at fleets of any size: the same replicates at each, so that sizes differ by nothing but their size.

A replicate is one way it could have been: the measured prompts drawn again in blocks (what was measured is a sample),
the arrivals and the mix drawn by its seed, and each prompt's time drawn in blocks from what was drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from comfysoak_analysis.planning.demand import NO_NAME, Arrivals, Demand
from comfysoak_analysis.planning.fleet import Fleet, Kind, Memory, serve
from comfysoak_analysis.planning.history import Flags
from comfysoak_analysis.planning.times import Places, Times, drawn, joined
from comfysoak_analysis.planning.wish import LATENCY, SHARES, Wish
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.scenario.routing import Route

PROMPTS = 12_000  # of a replicate of random arrivals
REPLICATES, REPLICATES_LEAST = 20, 8
PROMPTS_IN_ALL = PROMPTS * REPLICATES
INTERVAL = (0.05, 0.95)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One size of fleet: the goal's statistic over the replicates (median, and 90 % of them), and how busy it is."""

    gpus: int
    value_s: float
    low_s: float
    high_s: float
    met_share: float  # of the replicates
    utilisation: float
    load_share: float  # of the prompts that had to load their models


@dataclass(frozen=True, slots=True)
class Replicate:
    """One way it could have been."""

    arrivals: Arrivals
    kinds: Places
    of: tuple[Kind, ...]


@dataclass(frozen=True)
class Model:
    """What is asked of what. `mix` are shares by kind, of the prompts of which the demand does not name the workflow.

    `places` are those of the demand's workflows in `kinds`; NO_NAME leaves a workflow to the mix.
    """

    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    mix: tuple[float, ...]
    demand: Demand
    places: tuple[int, ...]
    memory: Memory
    handover_s: float
    route: Route
    wish: Wish
    seed: int = 1
    progress: Progress = field(default=lambda _words: None, compare=False)

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """Of all prompts by kind: as a trace names them, and by the mix where none is named."""
        if self.demand.stretch is None:
            return self.mix
        named = self._places_of(self.demand.stretch[1])
        counts = np.bincount(named[named != NO_NAME], minlength=len(self.kinds))
        shares = (counts + np.count_nonzero(named == NO_NAME) * np.array(self.mix)) / max(len(named), 1)
        return tuple(shares.tolist())

    @property
    def mean_service_s(self) -> float:
        """Of a prompt whose models are held."""
        means = [float(kind.held.service_s.mean()) for kind in self.kinds]
        return sum(share * mean for share, mean in zip(self.shares, means, strict=True))

    @property
    def least_gpus(self) -> int:
        """With fewer the queues would grow without end."""
        return max(int(np.ceil(self.demand.per_s * (self.mean_service_s + self.handover_s) * 0.98)), 1)

    @property
    def most_useful_gpus(self) -> int | None:
        """By models each need has one server: more servers than needs change nothing. None: there is no such limit."""
        if self.route != "affinity":
            return None
        asked = [kind for kind, share in zip(self.kinds, self.shares, strict=True) if share > 0]
        return len({kind.models for kind in asked})

    @property
    def floor_s(self) -> float:
        """The goal's statistic with no queue at all and all models held: no number of GPUs goes below it."""
        if self.wish.time != LATENCY:
            return 0.0
        chosen = [place for place, share in enumerate(self.shares) if share > 0 and self._is_asked(place)]
        times = [self.kinds[place].held for place in chosen]
        each = [self.shares[place] / len(part) for place, part in zip(chosen, times, strict=True)]
        weights = np.repeat(each, [len(part) for part in times])
        return _weighted(self.wish, joined(times), weights)

    def _is_asked(self, place: int) -> bool:
        return self.wish.workflow is None or self.names[place] == self.wish.workflow

    @cached_property
    def replicates(self) -> tuple[Replicate, ...]:
        """All of them, as many as the time allows."""
        prompts = PROMPTS if self.demand.stretch is None else max(len(self.demand.stretch[0]), 1)
        count = min(max(PROMPTS_IN_ALL // prompts, REPLICATES_LEAST), REPLICATES)
        return tuple(self._replicate(number) for number in range(count))

    def _replicate(self, number: int) -> Replicate:
        arrivals = self.demand.arrivals(PROMPTS, self._numbers(number, 0))
        kinds = self._kinds_of(arrivals, self._numbers(number, 1))
        counts = np.bincount(kinds, minlength=len(self.kinds))
        of = tuple(
            resampled(kind, int(count), self._numbers(number, 2 + place))
            for place, (kind, count) in enumerate(zip(self.kinds, counts, strict=True))
        )
        return Replicate(arrivals, kinds, of)

    def _numbers(self, replicate: int, purpose: int) -> np.random.Generator:
        """A generator for each purpose: what one draws more of must not change what another draws."""
        return np.random.default_rng((self.seed, replicate, purpose))

    def _kinds_of(self, arrivals: Arrivals, numbers: np.random.Generator) -> Places:
        by_mix = np.searchsorted(np.cumsum(self.mix) / sum(self.mix), numbers.random(len(arrivals.due_s)), side="right")
        by_mix = np.minimum(by_mix, len(self.mix) - 1)
        named = self._places_of(arrivals.names)
        kinds: Places = np.where(named == NO_NAME, by_mix, named).astype(np.int64)
        return kinds

    def _places_of(self, names: Places) -> Places:
        """The demand's names of workflows as places in `kinds`; NO_NAME for what the mix decides."""
        places: Places = np.array([*self.places, NO_NAME])[names]  # NO_NAME takes the last
        return places

    def counted(self, replicate: Replicate) -> Flags:
        """The prompts of a replicate that the goal is about, less its run-in."""
        chosen: Flags = np.arange(len(replicate.kinds)) >= replicate.arrivals.first
        if self.wish.workflow is not None:
            chosen &= replicate.kinds == self.names.index(self.wish.workflow)
        return chosen

    def fleet(self, gpus: int) -> Fleet:
        """So many servers as they were measured."""
        return Fleet(gpus, self.route, self.memory, self.handover_s)

    def point(self, gpus: int, replicates: Sequence[Replicate] | None = None) -> Point:
        """What this size of fleet gives."""
        self.progress(f"simulating {gpus:,} GPU{'' if gpus == 1 else 's'}, {self.route}")
        values, busy, loads = [], [], []
        for one in self.replicates if replicates is None else replicates:
            served = serve(one.arrivals.due_s, one.kinds, self.fleet(gpus), one.of)
            values.append(self.wish.of_served(served, self.counted(one)))
            busy.append(served.utilisation)
            loads.append(served.loads / len(one.kinds))
        low, middle, high = np.quantile(values, (INTERVAL[0], 0.5, INTERVAL[1])).tolist()
        met = sum(map(self.wish.holds, values)) / len(values)
        return Point(gpus, middle, low, high, met, float(np.mean(busy)), float(np.mean(loads)))

    def with_times(self, *, service: float = 1.0, loading: float = 1.0) -> Model:
        """The same with all executions so many times as long, or what loading adds to them."""
        return replace(self, kinds=tuple(_stretched(kind, service, loading) for kind in self.kinds))


def resampled(kind: Kind, count: int, numbers: np.random.Generator) -> Kind:
    """A kind with times for `count` prompts: what was measured drawn again, and from that in blocks."""
    held, loading = (_again(times, count, numbers) for times in (kind.held, kind.loading))
    return replace(kind, held=held, loading=loading)


def _again(times: Times, count: int, numbers: np.random.Generator) -> Times:
    measured, block = len(times), times.block
    sample = drawn(measured, measured, block, numbers)
    return times.at(sample[drawn(max(count, 1), measured, block, numbers)])


def _stretched(kind: Kind, service: float, loading: float) -> Kind:
    added_s = float(kind.loading.service_s.mean() - kind.held.service_s.mean()) * (loading - 1)
    loading_times = kind.loading.longer(max(added_s, 0.0)).times(service)
    return replace(kind, held=kind.held.times(service), loading=loading_times)


def _weighted(wish: Wish, times: Times, weights: Floats) -> float:
    latency_s = times.service_s + times.around_s
    if wish.statistic == "mean":
        return float(np.average(latency_s, weights=weights))
    order = np.argsort(latency_s)
    below = np.cumsum(weights[order]) / weights.sum()
    return float(latency_s[order][min(int(np.searchsorted(below, SHARES[wish.statistic])), len(order) - 1)])

"""What watching cost the server, by the pauses in which one kind of probe was switched off.

Each pause is compared with as long a stretch before it and as long a one after it, within one phase, so that drift
(a ramp, a GPU that grows warm) cancels. In each of the three stretches only prompts count that began and ended there:
the same rule for all three, so that it favours none. Service times are compared per workflow and server, as
logarithms; throughput by what succeeded in the stretch. Each pause gives one difference; how far the pauses disagree
gives the interval, by bootstrap over pauses, widened as Student's t is against the normal one
(Hesterberg, What Teachers Should Know About the Bootstrap, 2015: the expanded percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_core.rows import Outcome

PAUSES_LEAST = 5
COSTLY = 0.05
RESAMPLES = 10_000
CONFIDENCE = 0.95
SEED = 20_261_122
_LAST_READINGS = pd.Timedelta(seconds=1)  # what was being read when a pause began comes a moment after its event
_NAMES = {"gpu": "the GPU", "host": "the host", "server": "the server", "log": "the server's log"}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one kind of probe was switched off."""

    kind: str
    start: pd.Timestamp
    end: pd.Timestamp


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more there is of something while it is watched, as a share, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Watching:
    """What watching one kind of thing cost. A difference is None where too few pauses could be used."""

    kind: str
    pauses: int  # that were made
    used: int  # of these, with prompts in them, before and after, in one phase
    service: Difference | None
    throughput: Difference | None

    @property
    def is_costly(self) -> bool:
        """Whether it clearly slowed the server down by more than 5 %."""
        slower = self.service is not None and self.service.low > COSTLY
        return slower or (self.throughput is not None and self.throughput.high < -COSTLY)

    def in_words(self) -> str:
        """One sentence."""
        if self.service is None or self.throughput is None:
            made = f"{self.pauses} pause{'s' if self.pauses != 1 else ''}"
            usable = "" if self.used == self.pauses else f", {self.used} with whole prompts in, before and after them"
            return f"cannot tell: {made}{usable}, at least {PAUSES_LEAST} are needed"
        name = _NAMES.get(self.kind, self.kind)
        slower = _directed(self.service, "slower", "faster")
        lower = _directed(self.throughput, "higher", "lower")
        return f"Watching {name} made prompts {slower} and throughput {lower}, by {self.used} pauses"


def paused(run: Run) -> tuple[Stretch, ...]:
    """The pauses of the run in order of time; one without an end lasts until its kind is read again."""
    found: list[Stretch] = []
    begun: dict[str, pd.Timestamp] = {}
    told = run.events[run.events["kind"].isin(["probe_paused", "probe_resumed"])].dropna(subset=["subject"])
    for at, kind, subject in told[["at", "kind", "subject"]].itertuples(index=False, name=None):
        if kind == "probe_paused":
            begun[str(subject)] = at
        elif str(subject) in begun:
            found.append(Stretch(str(subject), begun.pop(str(subject)), at))
    found += [Stretch(kind, at, _read_again(run, kind, at)) for kind, at in begun.items()]
    return tuple(sorted(found, key=lambda stretch: stretch.start))


def _read_again(run: Run, kind: str, at: pd.Timestamp) -> pd.Timestamp:
    """The end of a pause that was not told: a sampler that was killed in it does not go on with it when it is back."""
    tables = {"gpu": "gpu", "host": "host", "server": "server", "log": "server_log"}
    seen = run.frame(tables[kind], ("at_ns",))["at"] if kind in tables else pd.Series(dtype="datetime64[ns]")
    later = seen[seen > at + _LAST_READINGS]
    return max(run.end, at) if later.empty else later.min()


def watching(run: Run) -> tuple[Watching, ...]:
    """What each kind of probe that was ever paused cost."""
    stretches = paused(run)
    return tuple(_watching(run, kind, stretches) for kind in dict.fromkeys(stretch.kind for stretch in stretches))


def costly_watching(run: Run) -> Iterator[Doubt]:
    """A doubt about each kind of probe that clearly slowed the server down."""
    for one in watching(run):
        if one.is_costly:
            yield Doubt(
                "watching",
                Weight.CAUTION,
                f"{one.in_words()}: the figures of this run are partly those of being watched.",
                "Watch more rarely (probes.every, probes.host, probes.server), or leave that probe out.",
            )


def _watching(run: Run, kind: str, stretches: tuple[Stretch, ...]) -> Watching:
    own = [stretch for stretch in stretches if stretch.kind == kind]
    done = _done(run)
    blocks = [block for stretch in own if (block := _Block.around(run, stretch, stretches)) is not None]
    compared = [found for block in blocks if (found := block.compare(done)) is not None]
    if len(compared) < PAUSES_LEAST:
        return Watching(kind, len(own), len(compared), None, None)
    service, weight, throughput = (np.array(column, dtype=float) for column in zip(*compared, strict=True))
    even = np.ones_like(weight)
    return Watching(kind, len(own), len(compared), _difference(service, weight), _difference(throughput, even))


def _done(run: Run) -> pd.DataFrame:
    """Measured prompts that did work and succeeded, with when work on them began and ended."""
    prompts = run.prompts
    chosen = prompts[prompts["timed"] & (prompts["outcome"] == Outcome.SUCCESS.value) & (prompts["service_s"] > 0)]
    ended = chosen["started_at"] + pd.to_timedelta(chosen["service_s"], unit="s")
    frame = chosen[["workflow", "server", "started_at", "service_s"]].assign(ended_at=ended)
    return frame.dropna(subset=["started_at", "ended_at"])


@dataclass(frozen=True, slots=True)
class _Block:
    """A pause, and as much time before it and after it."""

    pause: Stretch

    @classmethod
    def around(cls, run: Run, pause: Stretch, stretches: tuple[Stretch, ...]) -> _Block | None:
        """None where it is cut by the end of a phase, or where another pause falls into it."""
        lasts = pause.end - pause.start
        start, end = pause.start - lasts, pause.end + lasts
        edges = [(pd.Timestamp(phase.started_ns), pd.Timestamp(phase.ended_ns)) for phase in run.phases]
        edges = edges or [(run.start, pd.Timestamp(run.load_end_ns))]
        inside = any(since <= start and end <= until for since, until in edges)
        others = any(one.start < end and start < one.end for one in stretches if one is not pause)
        return cls(pause) if inside and not others and lasts > pd.Timedelta(0) else None

    def compare(self, done: pd.DataFrame) -> tuple[float, float, float] | None:
        """Watched against paused, as logarithms: service time, its weight, throughput. None: too few prompts."""
        lasts = self.pause.end - self.pause.start
        before = _within(done, self.pause.start - lasts, self.pause.start)
        inside = _within(done, self.pause.start, self.pause.end)
        after = _within(done, self.pause.end, self.pause.end + lasts)
        parts = list(_by_workflow(before, inside, after))
        weight = sum(weight for _, weight in parts)
        if not weight:
            return None
        service = sum(difference * weight for difference, weight in parts) / weight
        ends = [_ended_within(done, self.pause.start + lasts * step, lasts) for step in (-1, 0, 1)]
        throughput = math.log((ends[0] + ends[2] + 1) / 2 / (ends[1] + 0.5))  # half a prompt more: none is no infinity
        return service, weight, throughput


def _within(done: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return done[(done["started_at"] >= start) & (done["ended_at"] < end)]


def _ended_within(done: pd.DataFrame, start: pd.Timestamp, lasts: pd.Timedelta) -> int:
    return int(((done["ended_at"] >= start) & (done["ended_at"] < start + lasts)).sum())


def _by_workflow(before: pd.DataFrame, inside: pd.DataFrame, after: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """For each workflow and server seen in all three stretches: watched against paused, and how much it weighs."""
    early, late = (_means(part) for part in (before, after))
    for key, (mean, count) in _means(inside).items():
        if key in early and key in late:
            (early_mean, early_count), (late_mean, late_count) = early[key], late[key]
            variance = 1 / count + (1 / early_count + 1 / late_count) / 4
            yield (early_mean + late_mean) / 2 - mean, 1 / variance


def _means(part: pd.DataFrame) -> dict[tuple[str, str], tuple[float, int]]:
    """Mean logarithm of the service times and how many they are, by workflow and server."""
    return {
        (str(workflow), str(server)): (float(np.log(times.to_numpy(dtype=float)).mean()), len(times))
        for (workflow, server), times in part.groupby(["workflow", "server"])["service_s"]
    }


def _difference(logarithms: Floats, weights: Floats) -> Difference:
    """The weighted mean of what the pauses say, and its interval."""
    count = len(logarithms)
    chosen = np.random.default_rng(SEED).integers(0, count, size=(RESAMPLES, count))
    sums = weights[chosen].sum(axis=1)
    means = (logarithms[chosen] * weights[chosen]).sum(axis=1) / sums
    tail = _expanded_tail(count)
    low, high = (float(bound) for bound in np.quantile(means, (tail, 1 - tail)))
    value = float(np.average(logarithms, weights=weights))
    return Difference(*(math.expm1(bound) for bound in (value, low, high)))


def _expanded_tail(count: int) -> float:
    """The share to leave out at each end, so that few values give as wide an interval as they must."""
    normal, free = NormalDist(), count - 1
    z = normal.inv_cdf(0.5 + CONFIDENCE / 2)
    student = (  # Cornish-Fisher; good to 0.3 % from 4 degrees of freedom on
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return normal.cdf(-math.sqrt(count / free) * student)


def _directed(difference: Difference, more: str, less: str) -> str:
    share = 100 * difference.value
    low, high = 100 * difference.low, 100 * difference.high
    return f"{abs(share):.1f} % {more if share >= 0 else less} ({low:+.1f} % to {high:+.1f} %)"

"""Figures of a run: throughput, exact percentiles, drops, memory, times per node class.

Percentiles are taken over the raw values, never over other percentiles. A prompt answered from the cache is no
throughput and has no latency; one that timed out counts with the time it was waited for, since leaving it out would
make a slow server look fast. What failed at once is in `failed`, not in percentiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import AT_ONCE
from comfysoak_analysis.exporters import samples
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Grown, Held, Pace, parts
from comfysoak_analysis.prompts import as_measured, is_judged
from comfysoak_analysis.watched_gpus import BUSY, DRIVER, TOTAL, USED, watched_gpus
from comfysoak_core.rows import Outcome


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time is spread; all in seconds, NaN where `count` is 0."""

    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


NO_SPREAD = Spread(0, *[float("nan")] * 6)


def spread(values: pd.Series | np.ndarray[Any, np.dtype[Any]]) -> Spread:
    """The exact percentiles of `values` that are there."""
    told = np.asarray(values)
    told = told if told.dtype.kind == "f" else pd.Series(values).to_numpy(dtype=float, na_value=np.nan)
    return _spread(told[~np.isnan(told)])


def _spread(known: Array) -> Spread:
    """Of values none of which is NaN; their order is lost."""
    if known.size == 0:
        return NO_SPREAD
    mean, most = float(known.mean(dtype=np.float64)), float(known.max())
    quantiles = np.quantile(known, (0.5, 0.9, 0.95, 0.99), overwrite_input=True)
    p50, p90, p95, p99 = (float(quantile) for quantile in quantiles)
    return Spread(int(known.size), mean, p50, p90, p95, p99, most)


@dataclass(frozen=True, slots=True)
class Group:
    """The prompts of one workflow, phase or server, or all of them."""

    name: str
    intended: int  # sent, and ended on their own
    judged: int  # of these, not warm-up and not from the cache
    succeeded: int
    failed: int  # outcome not the expected one
    cached: int
    per_minute: float  # successes that did work, over the measured time
    latency: Spread
    service: Spread
    queue_wait: Spread
    fetch: Spread

    @property
    def failed_share(self) -> float:
        """NaN where there is nothing to judge."""
        return self.failed / self.judged if self.judged else float("nan")


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Failures of one code."""

    code: str
    outcome: str
    count: int
    share: float  # of the judged prompts
    first: pd.Timestamp
    last: pd.Timestamp
    examples: tuple[str, ...]
    messages: tuple[str, ...]
    workflows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sockets:
    """WebSockets of the run."""

    count: int
    opened: int
    dropped: int
    socket_hours: float
    by_code: tuple[tuple[str, int], ...]
    longest_silence_s: float

    @property
    def drops_per_hour(self) -> float:
        """Drops per socket and hour; NaN where no socket was open."""
        return self.dropped / self.socket_hours if self.socket_hours > 0 else float("nan")

    @property
    def dropped_share(self) -> float:
        """Share of opened sockets that were dropped; NaN where none was opened."""
        return self.dropped / self.opened if self.opened else float("nan")


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """One GPU over the run."""

    uuid: str
    host: str
    index: int | None
    source: str
    name: str
    samples: int
    memory_max_bytes: float
    memory_mean_bytes: float
    memory_total_bytes: float
    utilisation_mean: float
    utilisation_max: float
    instance: str | None = None
    sm_active_mean: float = float("nan")
    tensor_active_mean: float = float("nan")
    throttled_s: float = float("nan")  # clocks lowered by power limit or heat, by the driver's counters

    @property
    def label(self) -> str:
        """`0/2 · NVIDIA H100` as far as it is known: which of several of one name it is."""
        number = f"{self.index}" if self.index is not None else ""
        number += f"/{self.instance}" if number and self.instance else ""
        return " · ".join(part for part in (number, self.name) if part) or self.uuid

    @property
    def memory_max_share(self) -> float:
        """The fullest moment, 0 to 1; NaN where unknown."""
        return self.memory_max_bytes / self.memory_total_bytes if self.memory_total_bytes > 0 else float("nan")


Mask = np.ndarray[Any, np.dtype[np.bool_]]
Array = np.ndarray[Any, np.dtype[Any]]
_NEVER = np.iinfo(np.int64)  # its ends stand for no moment


def groups_of(prompts: pd.DataFrame, parts: pd.Categorical[Any], lasted_s: Sequence[float]) -> tuple[Group, ...]:
    """The figures of the prompts of each category of `parts`, which were measured for `lasted_s` seconds each."""
    codes = np.asarray(parts.codes)
    ok, work, measured, intended, timed = (
        prompts[column].to_numpy(dtype=bool) for column in ("ok", "work", "measured", "intended", "timed")
    )
    counted = measured & (work | ok)  # as `is_judged` has it
    succeeded = counted & ok & (prompts["outcome"] == Outcome.SUCCESS.value).to_numpy(dtype=bool)
    chosen = {
        "intended": intended, "judged": counted, "succeeded": succeeded, "failed": counted & ~ok,
        "cached": measured & ~work,
    }  # fmt: skip
    counts = _counted(codes, chosen, len(lasted_s))
    times = _spreads(prompts, np.where(timed, codes, codes.dtype.type(-1)), len(lasted_s))
    return tuple(
        Group(
            name=str(name),
            per_minute=int(counts["succeeded"][code]) / lasted_s[code] * 60 if lasted_s[code] > 0 else float("nan"),
            intended=int(counts["intended"][code]),
            judged=int(counts["judged"][code]),
            succeeded=int(counts["succeeded"][code]),
            failed=int(counts["failed"][code]),
            cached=int(counts["cached"][code]),
            latency=times["latency"][code],
            service=times["service"][code],
            queue_wait=times["queue_wait"][code],
            fetch=times["fetch"][code],
        )
        for code, name in enumerate(parts.categories)
    )


def _counted(codes: Array, chosen: Mapping[str, Mask], parts: int) -> dict[str, Array]:
    """How many rows of each part each mask chooses: rows are counted once, by which of the masks choose them."""
    together = np.zeros((parts + 1) << len(chosen), np.int64)
    for first in range(0, len(codes), AT_ONCE):
        piece = slice(first, first + AT_ONCE)
        key = codes[piece].astype(np.int64) + 1  # 0: of no part
        for mask in chosen.values():
            key = (key << 1) | mask[piece]
        together += np.bincount(key, minlength=len(together))
    table = together.reshape(parts + 1, *[2] * len(chosen))[1:]
    others = tuple(range(1, len(chosen)))
    return {name: table.take(1, axis=place + 1).sum(axis=others) for place, name in enumerate(chosen)}


def _spreads(prompts: pd.DataFrame, codes: Array, count: int) -> dict[str, list[Spread]]:
    """Of each time its spread by code: one after the other, since all rows in the order of their codes take much."""
    found = {}
    for time in ("latency", "service", "queue_wait", "fetch"):
        values = prompts[f"{time}_s"].to_numpy()
        told = np.where(np.isnan(values), codes.dtype.type(-1), codes)
        found[time] = [_spread(values[told == code]) for code in range(count)]
    return found


def measured_s(prompts: pd.DataFrame, chosen: Mask | None = None) -> float:
    """From the first measured prompt's schedule to the last one's end, in seconds; of the `chosen` rows."""
    measured = prompts["measured"].to_numpy(dtype=bool)
    edges = measured_edges(prompts, measured if chosen is None else measured & chosen)
    return max(float((edges[1] - edges[0]) / np.timedelta64(1, "s")), 0.0) if edges is not None else 0.0


def measured_edges(prompts: pd.DataFrame, chosen: Mask) -> tuple[np.datetime64, np.datetime64] | None:
    """First schedule and last end of these prompts; None where none has ended."""
    due, done = (prompts[column].to_numpy(dtype="datetime64[ns]") for column in ("scheduled", "done_at"))
    first = int(np.min(due.view(np.int64), where=chosen & ~np.isnat(due), initial=_NEVER.max))
    last = int(np.max(done.view(np.int64), where=chosen & ~np.isnat(done), initial=_NEVER.min))
    return (
        None if first == _NEVER.max or last == _NEVER.min else (np.datetime64(first, "ns"), np.datetime64(last, "ns"))
    )


def groups_by(run: Run, column: str) -> tuple[Group, ...]:
    """One group for each value of `column` (`workflow`, `phase`, `server`), the busiest first; phases in their order.

    By phase, a warm-up is measured too: it is apart there, and spoils no other figure.
    """
    return run.once(_GROUPS[column])


def _groups_by(run: Run, column: str) -> tuple[Group, ...]:
    by_phase = column == "phase"
    prompts = as_measured(run.prompts) if by_phase else run.prompts
    parts = prompts[column].array
    first = first_places(parts)
    if by_phase:
        lasted_s = [measured_s(prompts, parts.codes == code) for code in range(len(parts.categories))]
    else:
        lasted_s = [measured_s(prompts)] * len(parts.categories)
    found = [one for one in groups_of(prompts, parts, lasted_s) if one.name in first]
    return tuple(sorted(found, key=lambda one: first[one.name] if by_phase else (-one.intended, one.name)))


def first_places(texts: pd.Categorical[Any], chosen: Mask | None = None) -> dict[str, int]:
    """Each text that is there, with the first row it is in; of the `chosen` rows."""
    found = {}
    for code, name in enumerate(texts.categories):
        mine = texts.codes == code if chosen is None else (texts.codes == code) & chosen
        if mine.any():
            found[str(name)] = int(np.argmax(mine))
    return found


_GROUPS = {column: partial(_groups_by, column=column) for column in ("workflow", "phase", "server")}


def whole(run: Run) -> Group:
    """All prompts of the run."""
    return run.once(_whole)


def _whole(run: Run) -> Group:
    everything = pd.Categorical.from_codes(np.zeros(len(run.prompts), np.int8), categories=pd.Index(["all"]))
    return groups_of(run.prompts, everything, [measured_s(run.prompts)])[0]


def failures(run: Run, examples: int = 5) -> tuple[FailureRow, ...]:
    """Judged prompts that did not end as expected, by code, the most frequent first."""
    prompts = run.prompts
    counted = is_judged(prompts)
    wrong = counted & ~prompts["ok"]
    texts = (prompts[name][wrong].astype(object).fillna("(no code)") for name in ("code", "outcome"))
    counts = Counter((str(code), str(outcome)) for code, outcome in zip(*texts, strict=True))
    rows = tuple(_failure_rows(run.notable, counts, int(counted.sum()), examples))
    return tuple(sorted(rows, key=lambda row: (-row.count, row.code)))


def _failure_rows(
    notable: pd.DataFrame, counts: Mapping[tuple[str, str], int], judged_count: int, examples: int
) -> Iterator[FailureRow]:
    wrong = notable[is_judged(notable) & ~notable["ok"]]
    for (code, outcome), part in wrong.groupby([wrong["code"].fillna("(no code)"), wrong["outcome"]]):
        texts = (part["error_type"].fillna("") + ": " + part["error_message"].fillna("")).str.strip(": ")
        count = max(counts.get((str(code), str(outcome)), 0), len(part))
        yield FailureRow(
            code=str(code),
            outcome=str(outcome),
            count=count,
            share=count / judged_count,
            first=part["done_at"].min(),
            last=part["done_at"].max(),
            examples=tuple(part["id"].head(examples)),
            messages=tuple(text for text in texts.drop_duplicates().head(3) if text),
            workflows=tuple(part["workflow"].drop_duplicates().head(5)),
        )


def sockets(run: Run) -> Sockets:
    """What became of the WebSockets."""
    return sockets_of(run.sessions)


def sockets_of(frame: pd.DataFrame) -> Sockets:
    """What became of these."""
    dropped = frame[frame["dropped"]]
    counts = dropped["code"].value_counts()
    silence = frame["longest_silence_s"].max()
    return Sockets(
        count=len(frame),
        opened=int(frame["opened"].notna().sum()),
        dropped=len(dropped),
        socket_hours=float(frame["open_s"].clip(lower=0).sum()) / 3600,
        by_code=tuple((str(code), int(count)) for code, count in counts.items()),
        longest_silence_s=float(silence),
    )


@dataclass(slots=True)
class _Rarely:
    """What is read of a GPU once a second, over the run."""

    name: str | None
    pace: Pace
    active: dict[str, Held]
    throttled: dict[str, Grown]


_ACTIVE, _THROTTLED = ("sm_active_ratio", "tensor_active_ratio"), ("power_throttled_s", "thermal_throttled_s")


def _rarely_read(run: Run) -> dict[str, list[_Rarely]]:
    """By UUID, of each source; that of the driver first."""
    found: dict[tuple[str, bool, str], _Rarely] = {}
    for part in parts(run.reader("gpu_slow"), "gpu_slow", "uuid", (*_ACTIVE, *_THROTTLED), ("name",)):
        key = part.subject, part.source != DRIVER, part.source
        if key not in found:
            active = {column: Held(run.start_ns or 0, run.load_end_ns) for column in _ACTIVE}
            found[key] = _Rarely(None, Pace(), active, {column: Grown() for column in _THROTTLED})
        one = found[key]
        codes, names = part.texts["name"]
        one.name = one.name or next((str(names[code]) for code in np.unique(codes[codes >= 0])), None)
        one.pace.add(part.at_ns)
        for column in _ACTIVE:
            one.active[column].add(part.at_ns, part.values[column])
        for column in _THROTTLED:
            one.throttled[column].add(part.values[column])
    by_uuid: dict[str, list[_Rarely]] = {}
    for (uuid, _, _), one in sorted(found.items(), key=lambda pair: pair[0]):
        by_uuid.setdefault(uuid, []).append(one)
    return by_uuid


def _mean_where_moved(rarely: list[_Rarely], column: str) -> float:
    """The mean over time of a share that was ever seen above 0, by the first source that tells it; NaN otherwise."""
    told = next((one for one in rarely if one.active[column].count), None)
    return told.active[column].mean(told.pace.median_s()) if told and told.active[column].most > 0 else float("nan")


def _throttled_s(rarely: list[_Rarely]) -> float:
    """For how long clocks were lowered, by the first source that tells; NaN where none does, or they never were."""
    lasted_s = next((grown for one in rarely if (grown := sum(each.grown for each in one.throttled.values()))), 0.0)
    return lasted_s if lasted_s > 0 else float("nan")


def gpus(run: Run) -> tuple[GpuFigures, ...]:
    """Each GPU that was watched, in order of host and index; means are those over the time of load."""
    return run.once(_gpus)


def _gpus(run: Run) -> tuple[GpuFigures, ...]:
    slow = _rarely_read(run)
    found = []
    for uuid, gpu in watched_gpus(run).items():
        rarely = slow.get(uuid, [])
        found.append(
            GpuFigures(
                uuid=uuid,
                host=gpu.host,
                index=gpu.index,
                source=gpu.source,
                name=next((one.name for one in rarely if one.name), ""),
                samples=samples(run, gpu),
                memory_max_bytes=gpu.held[USED].most,
                memory_mean_bytes=gpu.mean_over_time(USED),
                memory_total_bytes=gpu.held[TOTAL].most,
                utilisation_mean=gpu.mean_over_time(BUSY),
                utilisation_max=gpu.held[BUSY].most,
                instance=gpu.instance,
                sm_active_mean=_mean_where_moved(rarely, "sm_active_ratio"),
                tensor_active_mean=_mean_where_moved(rarely, "tensor_active_ratio"),
                throttled_s=_throttled_s(rarely),
            )
        )
    return tuple(sorted(found, key=lambda gpu: (gpu.host, gpu.index if gpu.index is not None else 0)))

"""What is known of each GPU by all its samples of memory and utilisation, taken in one pass over the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Held, Ints, Pace, Part, Track, parts, starts_of
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S

DRIVER, EXPORTER = "nvml", "dcgm"
USED, TOTAL, BUSY = "memory_used_bytes", "memory_total_bytes", "utilisation_ratio"
COLUMNS = (USED, TOTAL, BUSY)
_LABELS = ("host", "index", "instance", "missing")
_LOST = "all:"  # so begins `missing` of a row that says that the GPU is lost
MOST_MISSING = 2


@dataclass(frozen=True, slots=True)
class Unread:
    """A long pause between two samples; `lost`: the row before it said that the GPU is lost."""

    since_ns: int
    until_ns: int
    source: str
    lost: bool = False


class Fine:
    """By steps of the fine grid the most memory in use, and the sum and number of readings of utilisation."""

    def __init__(self, grid: Grid, start_ns: int) -> None:
        self.start_ns, self.width_ns, self._last = start_ns, round(grid.width_s * NS_PER_S), grid.count - 1
        self.used = np.full(grid.count, np.nan)
        self.busy, self.count = np.zeros(grid.count, np.float32), np.zeros(grid.count, np.uint16)
        self.seen = np.zeros(grid.count, bool)

    def add(self, part: Part) -> None:
        """More samples; what was before the start of the run is left out."""
        first = int(np.searchsorted(part.at_ns, self.start_ns))
        steps = np.minimum((part.at_ns[first:] - self.start_ns) // self.width_ns, self._last)
        if not len(steps):
            return
        edges = starts_of(steps)
        steps = steps[edges]
        self.seen[steps] = True
        self.used[steps] = np.fmax(self.used[steps], np.fmax.reduceat(part.values[USED][first:], edges))
        busy = part.values[BUSY][first:]
        known = ~np.isnan(busy)
        self.busy[steps] += np.add.reduceat(np.where(known, busy, 0.0), edges)
        self.count[steps] += np.add.reduceat(known, edges, dtype=np.uint16)

    def utilisation(self) -> Floats:
        """The mean of each step; NaN where it was not told."""
        known = self.count > 0
        return np.divide(self.busy, self.count, out=np.full(known.size, np.nan, np.float32), where=known)


@dataclass(slots=True)
class WatchedGpu:
    """One GPU or MIG instance by one source."""

    uuid: str
    source: str
    host: str
    index: int | None
    instance: str | None
    pace: Pace
    held: dict[str, Held]
    coarse: dict[str, Track]
    fine: Fine
    missing: dict[str, None] = field(default_factory=dict)
    unread: list[Unread] = field(default_factory=list)
    changed: list[tuple[Ints, Floats]] = field(default_factory=list)  # of an exporter: what was not just repeated
    last_lost: bool = False
    last_values: Floats | None = None

    def tells(self, column: str) -> bool:
        """Whether it ever said anything in a column."""
        return self.held[column].count > 0

    @property
    def samples(self) -> int:
        """How many rows there are."""
        return self.pace.rows

    def mean_over_time(self, column: str) -> float:
        """See `Held`."""
        return self.held[column].mean(self.pace.median_s())

    def changes(self) -> tuple[Ints, Floats]:
        """Moments at which a value was another than before, and the values (used, total, busy) from then on."""
        if not self.changed:
            return np.empty(0, np.int64), np.empty((0, len(COLUMNS)))
        moments, values = zip(*self.changed, strict=True)
        return np.concatenate(moments), np.concatenate(values)


def watched_gpus(run: Run) -> dict[str, WatchedGpu]:
    """Each GPU by its UUID, in the order of these, by the better of its sources: the driver where it tells of it."""
    return run.once(_watched)


def _watched(run: Run) -> dict[str, WatchedGpu]:
    found: dict[tuple[str, str], WatchedGpu] = {}
    for part in parts(run.reader("gpu"), "gpu", "uuid", COLUMNS, _LABELS):
        key = part.subject, part.source
        if key not in found:
            found[key] = _new(run, part)
        _add(found[key], part)
    best: dict[str, WatchedGpu] = {}
    for (uuid, source), gpu in sorted(found.items(), key=lambda one: (one[0][0], one[0][1] != DRIVER, one[0][1])):
        if uuid not in best or not any(best[uuid].tells(column) for column in COLUMNS):
            best[uuid] = gpu
        elif source != best[uuid].source:
            _complement(best[uuid], gpu)
    for column in COLUMNS:
        tracks = {uuid: gpu.coarse[column].buckets() for uuid, gpu in best.items()}
        run.kept_tracks["gpu", "uuid", run.coarse, column] = tracks
    return best


def _complement(gpu: WatchedGpu, other: WatchedGpu) -> None:
    """What only the other source tells."""
    for column in COLUMNS:
        if not gpu.tells(column) and other.tells(column):
            gpu.held[column], gpu.coarse[column] = other.held[column], other.coarse[column]
            if column == USED:
                gpu.fine.used = other.fine.used
            elif column == BUSY:
                gpu.fine.busy, gpu.fine.count = other.fine.busy, other.fine.count


def _new(run: Run, part: Part) -> WatchedGpu:
    start_ns = run.start_ns or 0
    labels = {name: _first(part, name) for name in ("host", "index", "instance")}
    return WatchedGpu(
        part.subject,
        part.source,
        str(labels["host"]),
        None if labels["index"] is None else int(labels["index"]),
        None if labels["instance"] is None else str(labels["instance"]),
        Pace(),
        {column: Held(start_ns, run.load_end_ns) for column in COLUMNS},
        {column: Track(run.coarse, start_ns) for column in COLUMNS},
        Fine(run.fine, start_ns),
    )


def _first(part: Part, label: str) -> Any:  # text or number
    codes, names = part.texts[label]
    return names[codes[0]]


def _add(gpu: WatchedGpu, part: Part) -> None:
    codes, texts = part.texts["missing"]
    lost = np.array([bool(text) and str(text).startswith(_LOST) for text in texts], dtype=bool)[codes]
    last_ns = gpu.pace.last_ns
    for place in gpu.pace.add(part.at_ns).tolist():
        since_ns, was_lost = (part.at_ns[place - 1], lost[place - 1]) if place else (last_ns, gpu.last_lost)
        gpu.unread.append(Unread(int(since_ns), int(part.at_ns[place]), part.source, bool(was_lost)))
    gpu.last_lost = bool(lost[-1])
    for code in np.unique(codes[codes >= 0]).tolist() if len(gpu.missing) < MOST_MISSING else ():
        gpu.missing[str(texts[code])] = None
    for column, values in part.values.items():
        gpu.held[column].add(part.at_ns, values)
        gpu.coarse[column].add(part.at_ns, values)
    gpu.fine.add(part)
    if part.source != DRIVER:
        _note_changes(gpu, part)


def _note_changes(gpu: WatchedGpu, part: Part) -> None:
    """A row that repeats the one before is no news; the first of all may be a repetition."""
    values = np.nan_to_num(np.stack([part.values[column] for column in COLUMNS], axis=1), nan=-1.0)
    before = values[:1] if gpu.last_values is None else gpu.last_values[None, :]
    is_new = (values != np.concatenate([before, values[:-1]])).any(axis=1)
    gpu.last_values = values[-1]
    gpu.changed.append((part.at_ns[is_new], np.stack([part.values[one] for one in COLUMNS], axis=1)[is_new]))

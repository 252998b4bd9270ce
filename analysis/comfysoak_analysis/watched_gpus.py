"""What is known of each GPU by all its samples of memory and utilisation, taken in one pass over the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.frames import Run
from comfysoak_analysis.frames.samples import Held, Ints, Pace, Part, Steps, Track, keys_in, parts
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.parquet import Group

DRIVER, EXPORTER = "nvml", "dcgm"
USED, TOTAL, BUSY = "memory_used_bytes", "memory_total_bytes", "utilisation_ratio"
COLUMNS = (USED, TOTAL, BUSY)
_LABELS = ("host", "index", "instance")
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
        self.start_ns, self.width_ns, self._grid = start_ns, round(grid.width_s * NS_PER_S), grid
        self.used = np.full(grid.count, np.nan)
        self.busy, self.count = np.zeros(grid.count, np.float32), np.zeros(grid.count, np.uint16)
        self.seen = np.zeros(grid.count, bool)

    def add(self, part: Part) -> None:
        """More samples; what was before the start of the run is left out."""
        steps = Steps.of(part.at_ns, self._grid, self.start_ns)
        if not len(steps.edges):
            return
        places, edges = steps.places, steps.edges
        self.seen[places] = True
        self.used[places] = np.fmax(self.used[places], np.fmax.reduceat(part.values[USED][steps.first :], edges))
        busy = part.values[BUSY][steps.first :]
        known = ~np.isnan(busy)
        number: Any = steps.number
        if not known.all():
            busy, number = np.where(known, busy, 0.0), np.add.reduceat(known, edges, dtype=np.uint16)
        self.busy[places] += np.add.reduceat(busy, edges)
        self.count[places] += number.astype(np.uint16)

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
    grid: Grid  # of the coarse tracks
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
    labels = _Labels()
    for part in parts(run.reader("gpu"), "gpu", "uuid", COLUMNS, ("missing",), labels.add):
        key = part.subject, part.source
        if key not in found:
            found[key] = _new(run, key, labels.of[key])
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


class _Labels:
    """Host, index and instance of each GPU by each source: the same in all its rows, so read with its first."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], tuple[str, int | None, str | None]] = {}

    def add(self, group: Group) -> None:
        """Look for GPUs that are new."""
        keys, pairs = keys_in(group.table(("uuid", "source")), "uuid", "source")
        for key in np.flatnonzero(np.bincount(keys[keys >= 0])).tolist():
            if pairs[key] not in self.of:
                row = group.table(_LABELS).slice(int(np.argmax(keys == key)), 1).to_pylist()[0]
                self.of[pairs[key]] = (str(row["host"]), row["index"], row["instance"])


def _new(run: Run, key: tuple[str, str], labels: tuple[str, int | None, str | None]) -> WatchedGpu:
    start_ns = run.start_ns or 0
    (uuid, source), (host, index, instance) = key, labels
    return WatchedGpu(
        uuid,
        source,
        host,
        index,
        instance,
        Pace(),
        {column: Held(start_ns, run.load_end_ns) for column in COLUMNS},
        {column: Track(run.coarse, start_ns) for column in COLUMNS},
        Fine(run.fine, start_ns),
        run.coarse,
    )


def _add(gpu: WatchedGpu, part: Part) -> None:
    codes, texts = part.texts["missing"]
    lost = np.array([bool(text) and str(text).startswith(_LOST) for text in texts], dtype=bool)
    last_ns = gpu.pace.last_ns
    for place in gpu.pace.add(part.at_ns).tolist():
        since_ns, was_lost = (part.at_ns[place - 1], lost[codes[place - 1]]) if place else (last_ns, gpu.last_lost)
        gpu.unread.append(Unread(int(since_ns), int(part.at_ns[place]), part.source, bool(was_lost)))
    gpu.last_lost = bool(lost[codes[-1]])
    is_told = len(texts) > 1 and len(gpu.missing) < MOST_MISSING
    for code in np.unique(codes[codes >= 0]).tolist() if is_told else ():
        gpu.missing[str(texts[code])] = None
    steps = Steps.of(part.at_ns, gpu.grid, gpu.fine.start_ns)
    for column, values in part.values.items():
        gpu.held[column].add(part.at_ns, values)
        gpu.coarse[column].add(part.at_ns, values, steps)
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

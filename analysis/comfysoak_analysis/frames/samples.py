"""Samples of any number, read once in pieces: each piece taken apart by what was sampled, in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.frames.columns import DURATIONS, columns_of
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.parquet import Group
from comfysoak_core.recording.reading import TableReader

_FINE_NS, _FINE_COUNT = 10_000, 150_000  # distances up to 1.5 s are counted to 10 µs, longer ones kept as they are

_NO_MOMENT = int(np.iinfo(np.int64).min)  # as numpy has it

Ints = np.ndarray[Any, np.dtype[np.int64]]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """Some samples of one subject by one source, in the order of time, after all parts of it before."""

    subject: str
    source: str  # of GPU tables "nvml" or "dcgm"; "" where there is one source only
    at_ns: Ints
    values: dict[str, Floats]  # NaN where there is none
    texts: dict[str, tuple[Array, list[str | None]]]  # codes, and what they stand for


def parts(
    reader: TableReader,
    table: str,
    by: str,
    columns: Sequence[str],
    texts: Sequence[str] = (),
    beside: Callable[[Group], None] = lambda _: None,
) -> Iterator[Part]:
    """All samples of a table that have a value of `by`; `columns` (numbers) are named as in a frame.

    `beside`: see `TableReader.in_order`.
    """
    kinds = columns_of(table)
    stored = {name: stored_as(name, kinds) for name in columns}
    source = "source" if "source" in kinds else None
    labels = [by, *([source] if source else []), *texts]
    for piece in reader.in_order(list(dict.fromkeys(["at_ns", *labels, *stored.values()])), beside):
        yield from _parts_of(piece, by, source, stored, texts)


def keys_in(piece: pa.Table, by: str, source: str | None) -> tuple[Array, list[tuple[str, str]]]:
    """Whose each row is, as a place among pairs of subject and source; -1 where the subject is not known."""
    subjects, subject_names = coded(piece[by])
    sources, source_names = coded(piece[source]) if source else (np.zeros(len(subjects), np.int8), [""])
    pairs = [(str(subject), str(told)) for subject in subject_names for told in source_names]
    kind = np.int16 if len(pairs) < 2**15 else np.int32  # sorted in a fraction of the time
    subjects, sources = subjects.astype(kind), np.where(sources < 0, len(source_names) - 1, sources).astype(kind)
    return np.where(subjects < 0, kind(-1), subjects * kind(len(source_names)) + sources), pairs


def stored_as(name: str, kinds: dict[str, pa.DataType]) -> str:
    """The column of the table that a column of a frame comes from."""
    nanoseconds = f"{name.removesuffix('_s')}_ns"
    stored = nanoseconds if name.endswith("_s") and nanoseconds in DURATIONS and nanoseconds in kinds else name
    if stored not in kinds:
        raise KeyError(f"there is no column {name!r}; there are: {', '.join(kinds)}")
    return stored


def _parts_of(
    piece: pa.Table, by: str, source: str | None, stored: dict[str, str], texts: Sequence[str]
) -> Iterator[Part]:
    keys, pairs = keys_in(piece, by, source)
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    at_ns = _integers(piece["at_ns"])[order]
    values = {name: numbers(piece[column], column)[order] for name, column in stored.items()}
    coded_texts = {name: coded(piece[name]) for name in texts}
    edges = starts_of(sorted_keys)
    for first, last in zip(edges, [*edges[1:], len(order)], strict=True):
        key = int(sorted_keys[first])
        if key < 0:
            continue
        rows = slice(int(first), int(last))
        yield Part(
            *pairs[key],
            at_ns[rows],
            {name: column[rows] for name, column in values.items()},
            {name: (codes[order[rows]], names) for name, (codes, names) in coded_texts.items()},
        )


def coded(column: pa.ChunkedArray) -> tuple[Array, list[Any]]:
    """Codes and what they stand for; -1 (the last of the names, None) where there is none."""
    if column.null_count == len(column):
        return np.full(len(column), -1, np.int32), [None]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = pa.chunked_array([chunk.indices for chunk in column.chunks])
    known = pc.fill_null(codes, -1) if codes.null_count else codes
    return known.to_numpy(), [*column.chunk(0).dictionary.to_pylist(), None]


def numbers(column: pa.ChunkedArray, stored: str) -> Floats:
    """Numbers as floats, durations in seconds, NaN where there is none."""
    found = column.cast(pa.float64()).to_numpy() if column.type != pa.bool_() else _of_flags(column)
    floats: Floats = found / NS_PER_S if stored in DURATIONS else found
    return floats


def _of_flags(column: pa.ChunkedArray) -> Floats:
    found: Floats = column.cast(pa.int8()).cast(pa.float64()).to_numpy()
    return found


def moments_in(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Nanoseconds as moments, NaT where there is none."""
    known: Ints = (pc.fill_null(column, _NO_MOMENT) if column.null_count else column).to_numpy()
    return known.view("datetime64[ns]")


def _integers(column: pa.ChunkedArray) -> Ints:
    found: Ints = pc.fill_null(column, 0).to_numpy()
    return found


def starts_of(steps: Array) -> Ints:
    """Where each stretch of equal values begins."""
    if not len(steps):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(steps[1:] != steps[:-1]) + 1])


@dataclass(frozen=True, slots=True)
class Steps:
    """Which samples, in the order of time, fall into which buckets of a grid; what was before its start into none."""

    first: int  # sample that falls into one
    edges: Ints  # from `first` on, of the first sample in each bucket
    places: Ints  # of these buckets
    number: np.ndarray[Any, np.dtype[np.uint32]]  # of samples in each of them

    @classmethod
    def of(cls, at_ns: Ints, grid: Grid, start_ns: int) -> Steps:
        """`at_ns`: in the order of time."""
        first = int(np.searchsorted(at_ns, start_ns))
        width_ns = round(grid.width_s * NS_PER_S)
        places = np.minimum((at_ns[first:] - start_ns) // width_ns, grid.count - 1)
        edges = starts_of(places)
        return cls(first, edges, places[edges], np.diff(edges, append=len(places)).astype(np.uint32))


class Track:
    """The buckets of one column of one subject while its samples come in."""

    __slots__ = ("_grid", "_high", "_low", "_number", "_start_ns", "_total")

    def __init__(self, grid: Grid, start_ns: int) -> None:
        self._grid, self._start_ns = grid, start_ns
        self._total, self._number = np.zeros(grid.count), np.zeros(grid.count, np.uint32)
        self._low = np.full(grid.count, np.inf, np.float32)
        self._high = np.full(grid.count, -np.inf, np.float32)

    def add(self, at_ns: Ints, values: Floats, steps: Steps | None = None) -> None:
        """Samples in the order of time; NaN and what was before the start of the run are left out.

        `steps`: of all these moments, where they are known already.
        """
        known = ~np.isnan(values)
        if not known.all():
            at_ns, values, steps = at_ns[known], values[known], None
        steps = Steps.of(at_ns, self._grid, self._start_ns) if steps is None else steps
        if not len(steps.edges):
            return
        values, places, edges = values[steps.first :], steps.places, steps.edges
        self._number[places] += steps.number
        self._total[places] += np.add.reduceat(values, edges)
        self._low[places] = np.minimum(self._low[places], np.minimum.reduceat(values, edges))
        self._high[places] = np.maximum(self._high[places], np.maximum.reduceat(values, edges))

    def buckets(self) -> Buckets:
        """As narrow as charts and tests can do with: a fraction of 6e-8 is lost."""
        empty = self._number == 0
        mean = np.full(self._grid.count, np.nan, np.float32)
        np.divide(self._total, self._number, out=mean, where=~empty, casting="unsafe")
        self._low[empty], self._high[empty] = np.nan, np.nan
        return Buckets(self._grid, mean, self._low, self._high, self._number)


class Pace:
    """How far samples of one subject lie apart, and the long pauses between them."""

    def __init__(self, long_ns: int = 2 * NS_PER_S) -> None:
        self.rows, self.first_ns, self.last_ns = 0, 0, 0
        self.long: list[tuple[int, int]] = []  # index over all samples of the one after it, and its moment
        self._long_ns, self._longest_ns = long_ns, 0
        self._counts = np.zeros(_FINE_COUNT, np.uint32)
        self._rest: list[Ints] = []

    def add(self, at_ns: Ints) -> Ints:
        """More samples; tells which of them come after a long pause."""
        before = at_ns[:1] if not self.rows else np.array([self.last_ns])
        apart = np.diff(at_ns, prepend=before)
        told = apart if self.rows else apart[1:]
        fine = told // _FINE_NS
        short = fine < _FINE_COUNT
        if not short.all():
            self._rest.append(told[~short])
            fine = fine[short]
        counts = np.bincount(fine)
        self._counts[: len(counts)] += counts.astype(np.uint32)
        self.first_ns = self.first_ns if self.rows else int(at_ns[0])
        self._longest_ns = max(self._longest_ns, int(told.max(initial=0)))
        self.rows, self.last_ns = self.rows + len(at_ns), int(at_ns[-1])
        found: Ints = np.flatnonzero(apart > self._long_ns)
        return found

    @property
    def longest_s(self) -> float:
        """The longest pause; NaN of fewer than two samples."""
        return self._longest_ns / NS_PER_S if self.rows > 1 else float("nan")

    def median_s(self) -> float:
        """The usual distance, good to 10 µs; NaN of fewer than two samples."""
        return median_s([self])


def median_s(paces: Sequence[Pace]) -> float:
    """The usual distance of the samples of several subjects."""
    counts = np.sum([pace._counts for pace in paces], axis=0) if paces else np.zeros(1)  # noqa: SLF001  # one class
    rest = np.sort(np.concatenate([one for pace in paces for one in pace._rest] or [np.empty(0, np.int64)]))  # noqa: SLF001
    below = np.cumsum(counts)
    total = int(below[-1]) + len(rest)
    if not total:
        return float("nan")

    def at(rank: int) -> float:
        if rank < below[-1]:
            return float(np.searchsorted(below, rank, side="right") * _FINE_NS + _FINE_NS // 2) / NS_PER_S
        return float(rest[rank - int(below[-1])]) / NS_PER_S

    return (at((total - 1) // 2) + at(total // 2)) / 2


class Held:
    """The mean over time of one column: each value is held until the next sample, but no longer than `most_s`."""

    def __init__(self, start_ns: int, end_ns: int) -> None:
        self._edges = start_ns, end_ns
        self.count, self.total, self.most, self.least = 0, 0.0, float("nan"), float("nan")
        self._in_load, self._sum = 0, 0.0
        self._weight, self._weighted = 0.0, 0.0
        self._long: list[tuple[float, float]] = []
        self._last: tuple[int, float] | None = None

    def add(self, at_ns: Ints, values: Floats) -> None:
        """More samples in the order of time."""
        known = ~np.isnan(values)
        if not known.all():
            at_ns, values = at_ns[known], values[known]
        if not len(values):
            return
        self.count, self.total = self.count + len(values), self.total + float(values.sum())
        self.most = float(np.fmax(self.most, values.max()))
        self.least = float(np.fmin(self.least, values.min()))
        first, last = np.searchsorted(at_ns, self._edges[0]), np.searchsorted(at_ns, self._edges[1], side="right")
        at_ns, values = at_ns[first:last], values[first:last]
        if not len(values):
            return
        self._in_load, self._sum = self._in_load + len(values), self._sum + float(values.sum())
        if self._last is not None:
            self._hold(np.array([at_ns[0] - self._last[0]]), np.array([self._last[1]]))
        self._hold(np.diff(at_ns), values[:-1])
        self._last = int(at_ns[-1]), float(values[-1])

    def _hold(self, lasted_ns: Ints, values: Floats) -> None:
        held_s = lasted_ns / NS_PER_S
        short = held_s <= HELD_MOST_S
        if short.all():
            self._weight += float(held_s.sum())
            self._weighted += float(held_s @ values)
            return
        self._weight += float(held_s[short].sum())
        self._weighted += float(held_s[short] @ values[short])
        self._long += zip(held_s[~short].tolist(), values[~short].tolist(), strict=True)

    def mean(self, usual_s: float) -> float:
        """Over the time of load; NaN where nothing was told then. `usual_s`: the pace of its source."""
        most_s = max(HELD_MOST_S, 3 * usual_s) if usual_s == usual_s else HELD_MOST_S
        weight = self._weight + sum(min(held_s, most_s) for held_s, _ in self._long)
        weighted = self._weighted + sum(min(held_s, most_s) * value for held_s, value in self._long)
        if weight > 0:
            return weighted / weight
        return self._sum / self._in_load if self._in_load else float("nan")


HELD_MOST_S = 2.0  # a reading says nothing about a gap longer than this, unless its source is slower


class Grown:
    """By how much a counter grew, restarts of it left out."""

    def __init__(self) -> None:
        self.grown = 0.0
        self._last = np.empty(0)

    def add(self, values: Floats) -> None:
        """More readings in the order of time."""
        known = np.concatenate([self._last, values[~np.isnan(values)]])
        if len(known):
            self.grown += float(np.clip(np.diff(known), 0, None).sum())
            self._last = known[-1:]


def moments_of(at_ns: Ints) -> pd.Series:
    """Nanoseconds as moments."""
    return pd.Series(at_ns.view("datetime64[ns]"))

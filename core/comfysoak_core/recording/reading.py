"""Reading tables: Parquet, and what is still in the journal, as if it were all one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.gathering import Gathered, gather
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.manifest import Manifest, TableFile, load_manifest
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.rows import TABLES, Row

if TYPE_CHECKING:
    import pyarrow as pa

    from comfysoak_core.recording.parquet import Group, Spans

_ATTEMPTS = 50
_ATTEMPT_S = 0.05


@dataclass(frozen=True, slots=True)
class Extent:
    """How much there is of a table; `first_ns` and `last_ns` by its `ORDERED_BY`, 0 where there are no rows.

    `rows` counts a row twice that is in a file and again, newer, in the journal.
    """

    rows: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """A table at one moment: files of finished rows, and rows that are newer than them."""

    row_type: type[Row]
    files: tuple[TableFile, ...]
    newer: Gathered

    def replaces(self, file: TableFile) -> list[str]:
        """Ids of newer rows that may have an older version in `file`; what has ended stays ended."""
        if self.row_type.ENDED_BY is None:
            return []
        first_seen = self.newer.first_seen()
        return [row_id for row_id, at_ns in first_seen.items() if file.first_ns <= at_ns <= file.last_ns]


def read_table(root: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """See `Recording.table`."""
    from comfysoak_core.recording import parquet

    row_type = _row_type(name)
    order = row_type.ORDERED_BY
    wanted = list(columns) if columns is not None else None
    read = None if wanted is None else list(dict.fromkeys([*wanted, order]))
    batches = list(stream_table(root, name, 1 << 20, read))
    table = parquet.sorted_by_time(parquet.table_of(batches, row_type, read), row_type)
    return table if wanted is None else table.select(wanted)


def stream_table(root: Path, name: str, batch_rows: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """See `Recording.stream`."""
    from comfysoak_core.recording import parquet

    layout, row_type = Layout(root), _row_type(name)
    wanted = list(columns) if columns is not None else None
    snapshot = _snapshot(layout, row_type)
    newer = parquet.to_table(row_type, snapshot.newer.all_rows())
    for file in snapshot.files:
        replaced = snapshot.replaces(file)
        if replaced:
            older = parquet.read_parquet(layout.tables / file.name, row_type)
            kept, newer = parquet.newest(older, newer, row_type)
            yield from parquet.batches(parquet.select(kept, wanted), batch_rows)
        else:
            yield from _opened(layout, row_type, file, batch_rows, wanted)
    yield from parquet.batches(parquet.select(parquet.sorted_by_time(newer, row_type), wanted), batch_rows)


def read_between(
    root: Path, name: str, spans: Iterable[tuple[int, int]], columns: Sequence[str] | None = None
) -> pa.Table:
    """See `Recording.between`."""
    from comfysoak_core.recording import parquet

    layout, row_type = Layout(root), _row_type(name)
    snapshot, near = _snapshot(layout, row_type), parquet.merged(spans)
    newer = parquet.to_table(row_type, snapshot.newer.all_rows())
    found = []
    for file in snapshot.files:
        if not any(first <= file.last_ns and file.first_ns <= last for first, last in near):
            continue
        if snapshot.replaces(file):
            kept, newer = parquet.newest(parquet.read_parquet(layout.tables / file.name, row_type), newer, row_type)
            found.append(parquet.select(parquet.within(kept, row_type, near), columns))
        else:
            found.append(parquet.read_between(layout.tables / file.name, row_type, near, columns))
    found.append(parquet.select(parquet.within(newer, row_type, near), columns))
    return parquet.concatenated(found)


class TableReader:
    """One table as of one moment, to be read as often as needed: the journal is read once, files each time."""

    def __init__(self, root: Path, name: str) -> None:
        """Raises RecordingError when there is no such table, or its manifest cannot be read."""
        from comfysoak_core.recording import parquet

        self._layout, self._row_type = Layout(root), _row_type(name)
        self._snapshot = _snapshot(self._layout, self._row_type)
        self._files = sorted(self._snapshot.files, key=lambda file: file.first_ns)
        newer = parquet.to_table(self._row_type, self._snapshot.newer.all_rows())
        self._newer = parquet.sorted_by_time(newer, self._row_type)

    def extent(self) -> Extent:
        """By the manifest and the journal alone."""
        from comfysoak_core.recording import parquet

        spans = [(file.first_ns, file.last_ns) for file in self._files if file.rows]
        if self._newer.num_rows:
            spans.append(parquet.bounds(self._newer, self._row_type.ORDERED_BY))
        rows = sum(file.rows for file in self._files) + int(self._newer.num_rows)
        return Extent(rows, min((one[0] for one in spans), default=0), max((one[1] for one in spans), default=0))

    def groups(self, near: Iterable[tuple[int, int]] | None = None) -> Iterator[Group]:
        """All rows, a row group at a time; columns of each are read as they are asked for. Newer rows replace older.

        `near`: what cannot have rows whose `ORDERED_BY` lies in these spans (first and last ns) may be left out.

        Sorted by `ORDERED_BY` within each group; groups follow each other in time but for an overlap. What is in the
        journal comes last. Raises RecordingError for a damaged or missing file.
        """
        from comfysoak_core.recording import parquet

        yield from (group for group, _, _ in self._groups(None if near is None else parquet.merged(near)))

    def pieces(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The named columns of each of `groups`, text that repeats as dictionaries."""
        yield from (group.table(columns) for group in self.groups())

    def in_order(self, columns: Sequence[str], beside: Callable[[Group], None] = lambda _: None) -> Iterator[pa.Table]:
        """As `pieces`, with all rows in the order of time: `columns` must hold the table's `ORDERED_BY`.

        What a later file may go before is held back until that file has been read. `beside` is given each group, for
        whoever needs something else of the same rows: no column is read twice.
        """
        from comfysoak_core.recording import parquet

        held, order = None, self._row_type.ORDERED_BY
        for group, later_ns, goes_on in self._groups():
            piece = group.table(columns)
            beside(group)
            coming = [later_ns] if later_ns is not None else []
            coming += [parquet.bounds(piece, order)[1]] if goes_on else []
            held = piece if held is None else parquet.merged_by_time(held, piece, self._row_type)
            ready, held = parquet.split_at(held, self._row_type, min(coming, default=None))
            if ready.num_rows:
                yield ready

    def rows_where(
        self, columns: Sequence[str], seen: Sequence[str], chosen: Callable[[pa.Table], Any]
    ) -> Iterator[pa.Table]:
        """The rows for which `chosen`, which sees the columns `seen`, is true: a mask as long as what it is given.

        All `columns` are read only where there is such a row. Text is plain, since few rows are expected.
        """
        for group in self.groups():
            yield from rows_of(group, columns, chosen(group.table(seen)))

    def none(self, columns: Sequence[str]) -> pa.Table:
        """The named columns without a row."""
        from comfysoak_core.recording import parquet

        return parquet.arrow_schema(self._row_type).empty_table().select(columns)

    def _groups(self, near: Spans | None = None) -> Iterator[tuple[Group, int | None, bool]]:
        """Each group, the first moment of all later files (None: there is none), and whether its own file goes on."""
        from comfysoak_core.recording import parquet

        newer, row_type = self._newer, self._row_type
        for place, file in enumerate(self._files):
            starts = [one.first_ns for one in self._files[place + 1 :]]
            if newer.num_rows:
                starts.append(parquet.bounds(newer, row_type.ORDERED_BY)[0])
            next_ns = min(starts, default=None)
            path = self._layout.tables / file.name
            try:
                if near is not None and not any(
                    first <= file.last_ns and file.first_ns <= last for first, last in near
                ):
                    continue
                if self._snapshot.replaces(file):
                    older = newer
                    newer = self._newest(path, older, [])[1]
                    yield parquet.Group(partial(self._kept, path, older)), next_ns, False
                else:
                    groups = parquet.read_groups(path, row_type, near)
                    yield from ((group, next_ns, left > 0) for group, left in groups)
            except FileNotFoundError as error:
                raise _missing(self._layout, file) from error
        if newer.num_rows:
            yield parquet.Group(partial(parquet.in_dictionaries, newer, row_type)), None, False

    def _kept(self, path: Path, newer: pa.Table, names: Sequence[str]) -> pa.Table:
        """Columns of the rows of a file that no newer row replaces."""
        from comfysoak_core.recording import parquet

        return parquet.in_dictionaries(self._newest(path, newer, names)[0], self._row_type, names)

    def _newest(self, path: Path, newer: pa.Table, names: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """The rows of a file that no newer row replaces, and the newer rows that count."""
        from comfysoak_core.recording import parquet

        row_type = self._row_type
        needed = [*names, "id", *([row_type.ENDED_BY] if row_type.ENDED_BY else [])]
        return parquet.newest(parquet.read_parquet(path, row_type, list(dict.fromkeys(needed))), newer, row_type)


def rows_of(group: Group, columns: Sequence[str], chosen: Any) -> Iterator[pa.Table]:
    """The chosen rows of a group (a mask over it), text plain; where there is none nothing is read, and nothing given.

    For those who read a table for something else as well: see `TableReader.rows_where`.
    """
    from comfysoak_core.recording import parquet

    if parquet.any_of(chosen):
        yield parquet.in_plain_text(group.table(columns).filter(chosen))


def _missing(layout: Layout, file: TableFile) -> RecordingError:
    return RecordingError(
        f"{layout.tables / file.name} is missing, and the manifest counts {file.rows} rows in it",
        "If the run still goes on, read it again: the file was merged meanwhile. Else restore it from a copy, "
        f"or take its entry out of {layout.manifest} to read the rest.",
    )


def _opened(
    layout: Layout, row_type: type[Row], file: TableFile, batch_rows: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    from comfysoak_core.recording import parquet

    try:
        yield from parquet.read_batches(layout.tables / file.name, row_type, batch_rows, columns)
    except FileNotFoundError as error:
        raise _missing(layout, file) from error


def _snapshot(layout: Layout, row_type: type[Row]) -> _Snapshot:
    """Manifest and journal as of one moment: read again when a recorder moved rows between the two."""
    for _ in range(_ATTEMPTS):
        manifest = load_manifest(layout.manifest)
        newer = _newer(layout, row_type, manifest)
        if newer is not None and load_manifest(layout.manifest).generation == manifest.generation:
            return _Snapshot(row_type, manifest.state(row_type.TABLE).files, newer)
        time.sleep(_ATTEMPT_S)
    raise RecordingError(
        f"{layout.root} changes faster than it can be read", "Read it again, or when the run has ended."
    )


def _newer(layout: Layout, row_type: type[Row], manifest: Manifest) -> Gathered | None:
    """Rows carried over and rows in the journal; None when a recorder took a file away meanwhile."""
    open_file = manifest.state(row_type.TABLE).open_file
    taken = [one for one in stretches(layout.journal) if one.table == row_type.TABLE]
    try:
        return gather(row_type, layout.tables / open_file if open_file else None, manifest.unconsumed(taken))
    except FileNotFoundError:
        return None


def _row_type(name: str) -> type[Row]:
    if name not in TABLES:
        raise RecordingError(f"there is no table {name!r}", f"Tables are: {', '.join(TABLES)}.")
    return TABLES[name]

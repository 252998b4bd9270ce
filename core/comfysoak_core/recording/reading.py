"""Reading tables: Parquet, and what is still in the journal, as if it were all one file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.gathering import Gathered, gather
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.manifest import Manifest, TableFile, load_manifest
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.rows import TABLES, Row

if TYPE_CHECKING:
    import pyarrow as pa

_ATTEMPTS = 50
_ATTEMPT_S = 0.05


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


def _opened(
    layout: Layout, row_type: type[Row], file: TableFile, batch_rows: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    from comfysoak_core.recording import parquet

    try:
        yield from parquet.read_batches(layout.tables / file.name, row_type, batch_rows, columns)
    except FileNotFoundError as error:
        raise RecordingError(
            f"{layout.tables / file.name} is missing, and the manifest counts {file.rows} rows in it",
            "If the run still goes on, read it again: the file was merged meanwhile. Else restore it from a copy, "
            f"or take its entry out of {layout.manifest} to read the rest.",
        ) from error


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

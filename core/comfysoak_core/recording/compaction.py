"""From journal to Parquet, a step at a time; killed at any moment, no row is lost and none is doubled.

A step writes new files, commits by replacing the manifest, and only then deletes what the manifest no longer
needs. Whatever a kill leaves behind is not named by the manifest and goes at the next start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

import orjson

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.gathering import Gathered, Values, gather, moments
from comfysoak_core.recording.journal import BATCH_ROWS, FORMAT, columns
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.manifest import Manifest, TableFile, TableState, load_manifest, owner, save_manifest
from comfysoak_core.recording.stretch import Stretch, stretches
from comfysoak_core.rows import TABLES, Row

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_BYTES = 8 * 1024 * 1024  # of journal turned into one file: bounds memory
MERGE_FILES = 8
MERGED_BYTES = 8 * 1024 * 1024
MERGED_ROWS = 1_000_000

_OURS = re.compile(r"\d{6,}\.parquet|open-\d{6,}\.jsonl|\.(?:\d{6,}\.parquet|open-\d{6,}\.jsonl)\.new")


class Compactor:
    """Owns `tables/`: whoever makes one holds the recorder's lock. `pause` is called often; it may raise to stop."""

    def __init__(self, layout: Layout, disk: Disk | None = None, pause: Callable[[], None] = lambda: None) -> None:
        self._layout = layout
        self._disk = disk or Disk()
        self._pause = pause
        self.manifest = load_manifest(layout.manifest)
        self.clean()

    def closed_stretches(self) -> list[Stretch]:
        """The stretches nobody writes to any more because their process has begun the next."""
        found = self.all_stretches()
        highest = {owner(stretch): stretch.sequence for stretch in found}  # in order, so the last one stays
        return [stretch for stretch in found if stretch.sequence < highest[owner(stretch)]]

    def all_stretches(self) -> list[Stretch]:
        """All stretches whose rows are not in the tables."""
        return self.manifest.unconsumed(stretches(self._layout.journal))

    def compact(self, taken: Iterable[Stretch]) -> Iterator[Gathered]:
        """Move the rows of `taken` into the tables, a bounded group at a time; yields what each commit moved.

        Raises OSError when the disk refuses; the recording is as it was after the last commit.
        """
        for table, of_table in groupby(sorted(taken, key=lambda one: (one.table, one)), key=lambda one: one.table):
            for group in _groups(of_table):
                yield self._compact_group(TABLES[table], group)

    def _compact_group(self, row_type: type[Row], group: Sequence[Stretch]) -> Gathered:
        state = self.manifest.state(row_type.TABLE)
        open_file = self._layout.tables / state.open_file if state.open_file else None
        taken = {stretch: stretch.path.stat().st_size for stretch in group}
        gathered = gather(row_type, open_file, group, self._pause)
        amended = self._settle_amendments(gathered)
        files = tuple(file for file in state.files if file not in amended)
        new_file = self._write_ended(gathered, amended)
        new_open = self._write_open(row_type, gathered.open_rows())
        after = TableState(files + new_file, new_open, len(gathered.open_rows()))
        damaged = tuple(stretch.path.name for stretch in gathered.damaged)
        manifest = self.manifest.with_table(row_type.TABLE, after).having_consumed(taken)
        self._commit(replace(manifest, damaged=manifest.damaged + damaged))
        for path in (stretch.path for stretch in group if stretch.path.name not in damaged):
            self._disk.remove(path)
        if open_file is not None:
            self._disk.remove(open_file)
        return gathered

    def written(self, row_type: type[Row], ordered_by_id: Mapping[str, int]) -> dict[TableFile, set[str]]:
        """Which of some ids (each with the `ORDERED_BY` of its row) are in Parquet already, and in which files."""
        found: dict[TableFile, set[str]] = {}
        for file in self.manifest.state(row_type.TABLE).files:
            asked = {row_id for row_id, at_ns in ordered_by_id.items() if file.first_ns <= at_ns <= file.last_ns}
            ids = self._ids_among(row_type, file, asked) if asked else set()
            found |= {file: ids} if ids else {}
        return found

    def _ids_among(self, row_type: type[Row], file: TableFile, asked: set[str]) -> set[str]:
        from comfysoak_core.recording import parquet

        self._pause()
        try:
            return parquet.ids_among(self._layout.tables / file.name, row_type, asked)
        except (RecordingError, FileNotFoundError):  # told by whoever reads that table; here it must not stop others
            return set()

    def ids_written(self, row_type: type[Row], ordered_by_id: Mapping[str, int]) -> set[str]:
        """Which of some ids are in Parquet already."""
        return set().union(*self.written(row_type, ordered_by_id).values())

    def _settle_amendments(self, gathered: Gathered) -> dict[TableFile, set[str]]:
        """Files that hold an older version of a row gathered; a row that ended does not become open again."""
        found = self.written(gathered.row_type, gathered.first_seen())
        for row in gathered.open_rows() if found else ():
            row_id = row[columns(gathered.row_type).index("id")]
            for ids in found.values():
                if row_id in ids:
                    ids.discard(row_id)
                    del gathered.by_id[row_id]
        return {file: ids for file, ids in found.items() if ids}

    def _write_ended(self, gathered: Gathered, amended: Mapping[TableFile, set[str]]) -> tuple[TableFile, ...]:
        """One new file: the rows that ended, and those of the files that are replaced on the way."""
        from comfysoak_core.recording import parquet

        row_type, ended = gathered.row_type, gathered.ended_rows()
        if not ended:
            return ()
        kept = [
            parquet.without_ids(parquet.read_parquet(self._layout.tables / file.name, row_type), ids)
            for file, ids in amended.items()
        ]
        return (self._write_table(row_type, parquet.concatenated([*kept, parquet.to_table(row_type, ended)])),)

    def merge(self, row_type: type[Row]) -> bool:
        """Put the small files at the end of a table into one when there are many; True when that was done."""
        from comfysoak_core.recording import parquet

        state = self.manifest.state(row_type.TABLE)
        small = _trailing_small(state.files)
        if len(small) < MERGE_FILES:
            return False
        tables = []
        for file in small:
            self._pause()
            try:
                tables.append(parquet.read_parquet(self._layout.tables / file.name, row_type))
            except (RecordingError, FileNotFoundError):
                return False
        merged = self._write_table(row_type, parquet.concatenated(tables))
        files = (*state.files[: -len(small)], merged)
        self._commit(self.manifest.with_table(row_type.TABLE, replace(state, files=files)))
        return True

    def remove_retired(self) -> None:
        """Delete files that were merged into others; call it when readers have had time to let go of them."""
        retired = self.manifest.retired
        if retired:
            for name in retired:
                self._disk.remove(self._layout.tables / name)
            self._commit(replace(self.manifest, retired=()))

    def clean(self) -> None:
        """Delete what a killed predecessor left: consumed stretches, files never committed."""
        for stretch in stretches(self._layout.journal):
            if self.manifest.is_consumed(stretch) and stretch.path.name not in self.manifest.damaged:
                self._disk.remove(stretch.path)
        known = self.manifest.names()
        for table in TABLES:
            for path in sorted((self._layout.tables / table).glob("*")):
                if _OURS.fullmatch(path.name) and f"{table}/{path.name}" not in known:
                    self._disk.remove(path)

    def _write_table(self, row_type: type[Row], table: pa.Table) -> TableFile:
        from comfysoak_core.recording import parquet

        self._pause()
        name = f"{row_type.TABLE}/{self.manifest.generation + 1:06d}.parquet"
        path = self._layout.tables / name
        table = parquet.sorted_by_time(table, row_type)
        self._disk.make_directory(path.parent)
        self._disk.write_by(path, lambda temporary: parquet.write_parquet(table, temporary))
        first_ns, last_ns = parquet.bounds(table, row_type.ORDERED_BY)
        latest_ns = max(parquet.bounds(table, column)[1] for column in moments(row_type))
        return TableFile(name, table.num_rows, path.stat().st_size, first_ns, last_ns, latest_ns)

    def _write_open(self, row_type: type[Row], rows: Sequence[Values]) -> str | None:
        """Rows still open, in the form of a stretch of journal."""
        if not rows:
            return None
        name = f"{row_type.TABLE}/open-{self.manifest.generation + 1:06d}.jsonl"
        header = {"format": FORMAT, "table": row_type.TABLE, "columns": columns(row_type)}
        batches = (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))
        self._disk.replace(
            self._layout.tables / name, b"".join(orjson.dumps(line) + b"\n" for line in (header, *batches))
        )
        return name

    def _commit(self, manifest: Manifest) -> None:
        save_manifest(manifest, self._layout.manifest, self._disk)
        self.manifest = manifest


def _groups(found: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    group: list[Stretch] = []
    size = 0
    for stretch in found:
        stretch_bytes = stretch.path.stat().st_size
        if group and size + stretch_bytes > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(stretch)
        size += stretch_bytes
    if group:
        yield group


def _trailing_small(files: Sequence[TableFile]) -> list[TableFile]:
    """The longest run of files at the end that together are no more than one file should be."""
    small: list[TableFile] = []
    size = rows = 0
    for file in reversed(files):
        size, rows = size + file.bytes, rows + file.rows
        if size > MERGED_BYTES or rows > MERGED_ROWS:
            break
        small.insert(0, file)
    return small

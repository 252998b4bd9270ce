"""Rows as Arrow tables, and those as Parquet files: the only module that knows pyarrow's ways.

All columns are nullable and are written in the order of the row's dataclass: int64, double, string, boolean.
Moments stay int64 nanoseconds. zstd; integers as DELTA_BINARY_PACKED, text that repeats as dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.journal import columns
from comfysoak_core.rows import TABLES, Row

_ARROW_TYPES: dict[type, Any] = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_UNREPEATED = ("id", "prompt_id", "variation", "text", "error_message", "detail")  # a dictionary of these only costs

GROUP_ROWS = 1 << 16  # whoever looks at a minute of a long recording reads groups, not files

Spans = Sequence[tuple[int, int]]  # (first, last) of moments, in order and apart: see `merged`


def be_modest() -> None:
    """Use one thread: whatever this process does for a recording, the load beside it comes first."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def arrow_schema(row_type: type[Row]) -> pa.Schema:
    """The Arrow schema of a row type, with its table's name as metadata."""
    return _arrow_schema(row_type.TABLE)


@cache
def _arrow_schema(table: str) -> pa.Schema:
    row_type = TABLES[table]
    hints = get_type_hints(row_type)
    schema = pa.schema([pa.field(name, _ARROW_TYPES[_plain_type(hints[name])]) for name in columns(row_type)])
    return schema.with_metadata({"comfysoak.table": row_type.TABLE, "comfysoak.format": "1"})


def _plain_type(hint: Any) -> type:  # an annotation
    """`int` of `int` and of `int | None`."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    assert isinstance(hint, type), f"{hint} is no column type"  # noqa: S101  # a row type of ours is wrong
    return hint


def to_table(row_type: type[Row], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """An Arrow table of rows that are in the column order of `row_type`.

    Values of a wrong type become null; a fraction where a whole number belongs is cut.
    """
    schema = arrow_schema(row_type)
    by_column: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [_array(values, field.type) for values, field in zip(by_column, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:  # pyarrow publishes no types
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([_fitting(value, kind) for value in values], type=kind)


def _fitting(value: Any, kind: Any) -> Any:  # a JSON value, an Arrow type, and a value that is of it
    if kind == pa.string():
        return value if value is None or isinstance(value, str) else str(value)
    try:
        return pa.scalar(value, type=kind).as_py()
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None


def sorted_by_time(table: pa.Table, row_type: type[Row]) -> pa.Table:
    """The rows in the order of their `ORDERED_BY`; equal ones stay as they were."""
    return table.sort_by([(row_type.ORDERED_BY, "ascending")])


def without_ids(table: pa.Table, ids: Iterable[str]) -> pa.Table:
    """The rows whose `id` is none of `ids`; works on a table and on a batch."""
    return table.filter(pc.invert(pc.is_in(table["id"], value_set=pa.array(list(ids), pa.string()))))


def merged_by_time(first: pa.Table, second: pa.Table, row_type: type[Row]) -> pa.Table:
    """Two tables, each in the order of time, as one that is."""
    together = pa.concat_tables([first, second])
    if not first.num_rows or bounds(first, row_type.ORDERED_BY)[1] <= bounds(second, row_type.ORDERED_BY)[0]:
        return together
    return sorted_by_time(together.unify_dictionaries(), row_type)


def split_at(table: pa.Table, row_type: type[Row], moment_ns: int | None) -> tuple[pa.Table, pa.Table]:
    """A table in the order of time: the rows before a moment, and those from it on; None: after all of them."""
    if moment_ns is None or bounds(table, row_type.ORDERED_BY)[1] < moment_ns:
        return table, table.slice(table.num_rows)
    count = pc.sum(pc.less(table[row_type.ORDERED_BY], moment_ns)).as_py() or 0
    return table.slice(0, count), table.slice(count)


def ids_among(path: Path, row_type: type[Row], ids: Iterable[str]) -> set[str]:
    """Those of `ids` that stand in the file at `path`."""
    column = read_parquet(path, row_type, ["id"])["id"]
    return set(column.filter(pc.is_in(column, value_set=pa.array(list(ids), pa.string()))).to_pylist())


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """One table of several of the same schema."""
    return pa.concat_tables(tables)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as one file. Raises OSError when the disk refuses."""
    strings = [field.name for field in table.schema if field.type == pa.string()]
    repeated = [name for name in strings if name not in _UNREPEATED]
    integers = [field.name for field in table.schema if field.type == pa.int64()]
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=repeated,
        column_encoding=dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
        row_group_size=GROUP_ROWS,
        write_statistics=[name for name in integers if name.endswith("_ns")],
    )


def read_parquet(path: Path, row_type: type[Row], names: Sequence[str] | None = None) -> pa.Table:
    """The named columns (all: None) of one file, null where an older file has no such column.

    Raises FileNotFoundError when it is gone, RecordingError when it is damaged.
    """
    return pa.Table.from_batches(list(read_batches(path, row_type, 1 << 20, names)), schema=_subschema(row_type, names))


def read_batches(
    path: Path, row_type: type[Row], batch_rows: int, names: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """As `read_parquet`, in batches of at most `batch_rows` rows."""
    schema = _subschema(row_type, names)
    with _telling_damage(path), pq.ParquetFile(path, memory_map=False) as file:
        present = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_rows, columns=present, use_threads=False):
            yield _conformed(batch, schema)


def _damaged(path: Path, error: Exception) -> RecordingError:
    return RecordingError(
        f"{path} is damaged: {str(error).splitlines()[0]}",
        f"Restore it from a copy, or take its entry out of {path.parents[1] / 'manifest.json'} to read the rest.",
    )


def read_between(path: Path, row_type: type[Row], spans: Spans, names: Sequence[str] | None = None) -> pa.Table:
    """As `read_parquet`, those rows only whose `ORDERED_BY` lies in one of `spans`; other row groups are not read."""
    schema = _subschema(row_type, names)
    wanted = list(dict.fromkeys([*schema.names, row_type.ORDERED_BY]))
    found = [pa.Table.from_batches([], schema=schema)]
    with _telling_damage(path), pq.ParquetFile(path, memory_map=False) as file:
        present = [name for name in wanted if name in file.schema_arrow.names]
        for number in range(file.num_row_groups):
            if _may_have(file, number, row_type, spans):
                group = within(file.read_row_group(number, columns=present, use_threads=False), row_type, spans)
                found += [pa.Table.from_batches([_conformed(one, schema)]) for one in group.to_batches()]
    return pa.concat_tables(found)


def _may_have(file: Any, number: int, row_type: type[Row], spans: Spans) -> bool:  # pyarrow publishes no types
    """Whether a row group may have rows in `spans`; one without statistics may."""
    group = file.metadata.row_group(number)
    column = next((group.column(at) for at in range(group.num_columns)
                   if group.column(at).path_in_schema == row_type.ORDERED_BY), None)  # fmt: skip
    told = None if column is None else column.statistics
    if told is None or not told.has_min_max:
        return True
    return any(first <= told.max and told.min <= last for first, last in spans)


def within(table: pa.Table, row_type: type[Row], spans: Spans) -> pa.Table:
    """The rows whose `ORDERED_BY` lies in one of `spans`."""
    import numpy as np

    if not spans:
        return table.slice(0, 0)
    moments = pc.fill_null(table[row_type.ORDERED_BY], -1).to_numpy()
    firsts, lasts = np.array(spans, dtype=np.int64).T
    place = np.searchsorted(firsts, moments, side="right") - 1
    return table.filter(pa.array((place >= 0) & (moments <= lasts[place])))


def merged(spans: Iterable[tuple[int, int]]) -> Spans:
    """Spans in order, those that touch made one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


class Group:
    """Rows that lie together; each column of them is read when it is first asked for."""

    def __init__(self, read: Callable[[list[str]], pa.Table]) -> None:
        self._read = read
        self._columns: dict[str, pa.ChunkedArray] = {}

    def table(self, names: Sequence[str]) -> pa.Table:
        """The named columns, text that repeats as dictionaries, null where an older file has no such column.

        Raises RecordingError when they are damaged.
        """
        new = [name for name in names if name not in self._columns]
        if new:
            read = self._read(new)
            self._columns |= {name: read[name] for name in new}
        return pa.table({name: self._columns[name] for name in names})


def read_groups(path: Path, row_type: type[Row], near: Spans | None = None) -> Iterator[tuple[Group, int]]:
    """The row groups of one file, each with how many rows of the file come after it; read by several threads.

    `near`: those alone that may have rows whose `ORDERED_BY` lies in these spans. Raises as `read_parquet` does.
    """
    with _telling_damage(path), _by_dictionaries(path) as file:
        left = file.metadata.num_rows
        for number in range(file.num_row_groups):
            left -= file.metadata.row_group(number).num_rows
            if near is None or _may_have(file, number, row_type, near):
                yield Group(partial(_read_group, path, row_type, file, number)), left


def _read_group(path: Path, row_type: type[Row], file: pq.ParquetFile, number: int, names: list[str]) -> pa.Table:
    there = file.schema_arrow.names
    with _telling_damage(path):
        read = file.read_row_group(number, columns=[name for name in names if name in there])
        return in_dictionaries(read, row_type, names)


@contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def any_of(mask: Any) -> bool:  # pyarrow publishes no types
    """Whether a mask chooses a row."""
    return bool(pc.any(mask).as_py())


def in_plain_text(table: pa.Table) -> pa.Table:
    """Without dictionaries."""
    plain = [
        table[name].cast(pa.string()) if pa.types.is_dictionary(table[name].type) else table[name]
        for name in table.column_names
    ]
    return pa.table(dict(zip(table.column_names, plain, strict=True)))


def in_dictionaries(table: pa.Table, row_type: type[Row], names: Sequence[str]) -> pa.Table:
    """The named columns as the row type has them, text that repeats as dictionaries; null where there is none."""
    return pa.table({field.name: _in_dictionary(table, field) for field in _subschema(row_type, names)})


def _in_dictionary(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.schema.names:
        column = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    else:
        column = table[field.name]
    if field.type != pa.string() or field.name in _UNREPEATED:
        return column.cast(field.type)
    return column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()


def _by_dictionaries(path: Path) -> pq.ParquetFile:
    """A file whose texts that repeat are read as dictionaries, as far as it has such columns: older ones lack some."""
    metadata = pq.read_metadata(path)
    texts = [field.name for field in metadata.schema.to_arrow_schema() if pa.types.is_string(field.type)]
    repeated = [name for name in texts if name not in _UNREPEATED]
    return pq.ParquetFile(path, memory_map=False, metadata=metadata, read_dictionary=repeated)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _subschema(row_type: type[Row], names: Sequence[str] | None) -> pa.Schema:
    schema = arrow_schema(row_type)
    return schema if names is None else pa.schema([schema.field(name) for name in names], schema.metadata)


def batches(table: pa.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """A table in batches of at most `batch_rows` rows."""
    yield from table.to_batches(max_chunksize=batch_rows)


def bounds(table: pa.Table, column: str) -> tuple[int, int]:
    """The smallest and the largest value of an integer column; (0, 0) when it has none."""
    least_and_most = pc.min_max(table[column]).as_py()
    return least_and_most["min"] or 0, least_and_most["max"] or 0


def release_memory() -> None:
    """Give back to the system what Arrow keeps for later."""
    pa.default_memory_pool().release_unused()


def newest(older: pa.Table, newer: pa.Table, row_type: type[Row]) -> tuple[pa.Table, pa.Table]:
    """Two tables without the ids that stand in both: a newer row that has ended wins, an open one does not."""
    ended_by = row_type.ENDED_BY
    assert ended_by is not None, f"{row_type.TABLE} has no ids"  # noqa: S101  # the caller's mistake
    ended = newer.filter(pc.is_valid(newer[ended_by]))
    kept = without_ids(older, ended["id"].to_pylist())
    reopened = newer.filter(pc.and_(pc.is_null(newer[ended_by]), pc.is_in(newer["id"], value_set=kept["id"])))
    return kept, without_ids(newer, reopened["id"].to_pylist())


def select(table: pa.Table, names: Sequence[str] | None) -> pa.Table:
    """The named columns, all for None."""
    return table if names is None else table.select(names)


def table_of(found: Sequence[pa.RecordBatch], row_type: type[Row], names: Sequence[str] | None) -> pa.Table:
    """One table of batches that have these columns."""
    return pa.Table.from_batches(found, schema=_subschema(row_type, names))

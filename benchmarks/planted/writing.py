"""Tables of numpy columns as a sealed recording: what the recorder would have left, without the run.

    write(path, run_file, {"gpu": [gpu_columns], "prompts": prompt_batches})

Each batch is a mapping from column to values; what a batch leaves out is null. Batches of one table follow each other
in time, each becomes a file of its own, sorted by the table's moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from comfysoak_core.recording import parquet
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.manifest import Manifest, TableFile, TableState, save_manifest
from comfysoak_core.recording.run_file import RunFile, write_run_file
from comfysoak_core.rows import TABLES, Row

Columns = Mapping[str, Any]  # a numpy array (NaN and NaT are null), a list, a scalar for all rows, or an arrow array


def write(path: Path, run: RunFile, tables: Mapping[str, Iterable[Columns]]) -> Path:
    """The recording in the new directory `path`; ValueError for a column no table has."""
    layout = Layout(path)
    for folder in (layout.journal, layout.tables, layout.logs):
        folder.mkdir(parents=True)
    manifest = Manifest()
    for name, batches in tables.items():
        files = tuple(_file(layout, TABLES[name], number, batch) for number, batch in enumerate(batches))
        manifest = manifest.with_table(name, TableState(files))
    save_manifest(manifest, layout.manifest, Disk())
    write_run_file(run, layout.run_json)
    return path


def _file(layout: Layout, row_type: type[Row], number: int, batch: Columns) -> TableFile:
    table = parquet.sorted_by_time(_table(row_type, batch), row_type)
    name = f"{row_type.TABLE}/{number:06d}.parquet"
    target = layout.tables / name
    target.parent.mkdir(exist_ok=True)
    parquet.write_parquet(table, target)
    first_ns, last_ns = parquet.bounds(table, row_type.ORDERED_BY)
    moments = [field.name for field in table.schema if field.name.endswith("_ns") and field.name in batch]
    latest_ns = max(parquet.bounds(table, moment)[1] for moment in moments)
    return TableFile(name, table.num_rows, target.stat().st_size, first_ns, last_ns, latest_ns)


def _table(row_type: type[Row], batch: Columns) -> pa.Table:
    schema = parquet.arrow_schema(row_type)
    unknown = set(batch) - set(schema.names)
    if unknown:
        raise ValueError(f"table {row_type.TABLE} has no column {', '.join(sorted(unknown))}")
    count = next(len(values) for values in batch.values() if hasattr(values, "__len__") and not isinstance(values, str))
    arrays = [_array(batch.get(field.name), field.type, count) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Any, kind: Any, count: int) -> Any:
    if isinstance(values, np.ndarray):
        return pa.array(values, from_pandas=True).cast(kind)
    if isinstance(values, (list, tuple)):
        return pa.array(values, type=kind)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values.cast(kind)
    return pa.nulls(count, kind) if values is None else pa.repeat(pa.scalar(values, kind), count)

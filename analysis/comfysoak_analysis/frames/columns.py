"""From Arrow to pandas: moments as datetimes, durations as seconds, and GPU rows of two sources told once."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import TABLES

DURATIONS = frozenset(
    {
        "start_error_ns",
        "end_error_ns",
        "longest_silence_ns",
        "read_cost_ns",
        "late_ns",
        "queue_answer_ns",
        "canary_answer_ns",
        "running_age_ns",
        "oldest_pending_age_ns",
        "stats_answer_ns",
        "lag_max_ns",
        "lateness_max_ns",
        "offset_ns",
        "error_ns",
        "step_ns",
        "upload_took_ns",
    }
)
_GPU_LABELS = frozenset(
    {"at", "read_cost_s", "late_s", "host", "source", "uuid", "index", "instance", "name", "missing"}
)
_ARROW: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}


def told_once(rows: pd.DataFrame) -> pd.DataFrame:
    """GPU rows without what an exporter says of a GPU that the driver tells as well, and fresher.

    Columns that only the exporter tells (of a chip that needs DCGM for its activity) stay, in rows of their own.
    """
    by_exporter = rows["source"] != "nvml"
    if not by_exporter.any():
        return rows
    by_driver = rows[~by_exporter]
    doubled = by_exporter & rows["uuid"].isin(by_driver["uuid"].unique())
    if not doubled.any():
        return rows
    values = [name for name in rows.columns if name not in _GPU_LABELS]
    rows, left = rows.copy(), pd.Series(data=True, index=rows.index)
    for uuid, part in rows[doubled].groupby("uuid"):
        told = by_driver[by_driver["uuid"] == uuid][values].notna().any()
        rows.loc[part.index, [name for name in values if told[name]]] = None
        left[part.index] = rows.loc[part.index, values].notna().any(axis=1)
    return rows[left].reset_index(drop=True)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An arrow table as a frame: moments as datetimes, durations as seconds."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if not name.endswith("_ns"):
            columns[name] = column
        elif name in DURATIONS:
            columns[f"{name[:-3]}_s"] = pa.compute.divide(column.cast(pa.float64()), float(NS_PER_S))
        else:
            columns[name[:-3]] = column.cast(pa.timestamp("ns"))
    mapping = {pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=mapping.get)
    return frame


def columns_of(table: str) -> dict[str, pa.DataType]:
    """The columns of a table with their types."""
    hints = typing.get_type_hints(TABLES[table])
    return {name: _ARROW[_bare(hint)] for name, hint in hints.items() if _is_column(name)}


def _is_column(name: str) -> bool:
    return not name.isupper() and not name.startswith("_")


def _bare(hint: Any) -> type:  # a type, or a union of one with None
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    bare: type = next(part for part in parts if part is not type(None))
    return bare


def complete(table: pa.Table, name: str, columns: Iterable[str]) -> pa.Table:
    """`table` with exactly `columns`: what it lacks is null, what has another type than expected is cast or null."""
    expected = columns_of(name)
    arrays = [_column(table, column, expected[column]) for column in columns]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _column(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if name in table.column_names:
        column = table.column(name)
        if column.type == kind:
            return column
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])

"""Reading tables: Parquet, plus what is still in the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def read_table(root: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """See `Recording.table`."""
    raise NotImplementedError


def stream_table(root: Path, name: str, batch_rows: int, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """See `Recording.stream`."""
    raise NotImplementedError

"""Columns for `writing.write` from seconds and shares: nulls where numbers are NaN or never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

START_NS = 1_795_000_000_000_000_000


def ns(seconds: NDArray[Any] | Sequence[float]) -> pa.Array:
    """Moments of the run's clock; null where they are not finite."""
    values = np.asarray(seconds, dtype=np.float64)
    known = np.isfinite(values)
    whole = np.floor(np.where(known, values, 0.0))
    rest = np.where(known, values, 0.0) - whole
    at = START_NS + whole.astype(np.int64) * 1_000_000_000 + np.round(rest * 1e9).astype(np.int64)
    return pa.array(at, mask=~known)


def lasting(seconds: NDArray[Any] | Sequence[float]) -> pa.Array:
    """Lengths of time in nanoseconds; null where they are not finite."""
    return whole(np.asarray(seconds, dtype=np.float64) * 1e9)


def whole(values: NDArray[Any] | Sequence[float]) -> pa.Array:
    """Whole numbers; null where they are not finite."""
    numbers = np.asarray(values, dtype=np.float64)
    known = np.isfinite(numbers)
    return pa.array(np.round(np.where(known, numbers, 0.0)).astype(np.int64), mask=~known)


def share(values: NDArray[Any]) -> pa.Array:
    """Floats; null where they are NaN."""
    return pa.array(np.asarray(values, dtype=np.float64), from_pandas=True)


def chosen(codes: NDArray[np.integer[Any]], names: Sequence[str | None]) -> pa.Array:
    """Texts by their number."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string())).cast(
        pa.string()
    )


def together(batches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Batches of one table under each other; a scalar is one for all rows of its batch, what one lacks is null."""
    counts = [_rows(batch) for batch in batches]
    if len(batches) == 1:
        return dict(batches[0])
    names = dict.fromkeys(name for batch in batches for name in batch)
    return {name: _stacked([batch.get(name) for batch in batches], counts) for name in names}


def _rows(batch: Mapping[str, Any]) -> int:
    return next(len(values) for values in batch.values() if hasattr(values, "__len__") and not isinstance(values, str))


def _stacked(parts: Sequence[Any], counts: Sequence[int]) -> Any:
    first = parts[0]
    is_one = not hasattr(first, "__len__") or isinstance(first, str)
    if is_one and all(type(part) is type(first) and part == first for part in parts):
        return first
    arrays = [_array(part, count) for part, count in zip(parts, counts, strict=True)]
    kinds = {array.type for array in arrays if array.type != pa.null()}
    kind = next(iter(kinds), pa.null()) if len(kinds) < 2 else pa.float64()
    return pa.concat_arrays([array.cast(kind) for array in arrays])


def _array(part: Any, count: int) -> pa.Array:
    if isinstance(part, pa.Array):
        return part
    if part is None:
        return pa.nulls(count)
    if isinstance(part, np.ndarray):
        return pa.array(part, from_pandas=True)
    if isinstance(part, list | tuple):
        return pa.array(part)
    return pa.repeat(pa.scalar(part), count)

"""Ids by the million: texts of random hexadecimal digits, made without a Python object each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_DIGITS = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_GROUPS = (8, 12, 16, 20)  # a hyphen stands before these digits


def uuids(noise: np.random.Generator, count: int) -> pa.Array:
    """`count` random UUIDs of version 4 in canonical form."""
    digits = _digits(noise, count)
    digits[:, 12] = ord("4")
    digits[:, 16] = _DIGITS[8 + noise.integers(0, 4, count)]
    return _texts(np.insert(digits, _GROUPS, ord("-"), axis=1))


def hex_ids(noise: np.random.Generator, count: int) -> pa.Array:
    """`count` ids of 32 digits."""
    return _texts(_digits(noise, count))


def joined(*parts: Any) -> pa.Array:  # arrow arrays of texts, and texts
    """Each row the parts one after the other."""
    cast = [part if isinstance(part, str) else part.cast(pa.string()) for part in parts]
    return pc.binary_join_element_wise(*cast, "")


def _digits(noise: np.random.Generator, count: int) -> Any:  # bytes of characters, one row an id
    drawn = noise.integers(0, 256, (count, 16), dtype=np.uint8)
    return np.stack([_DIGITS[drawn >> 4], _DIGITS[drawn & 15]], axis=2).reshape(count, 32)


def _texts(characters: Any) -> pa.Array:  # bytes of characters, one row a text
    count, width = characters.shape
    offsets = pa.py_buffer(np.arange(count + 1, dtype=np.int32) * width)
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(np.ascontiguousarray(characters)))

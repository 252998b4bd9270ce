"""Latents: safetensors files. Header and data fit each other, nothing is missing, all numbers are finite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import orjson

from comfysoak_core.outputs.media import BrokenError, cut_off

LATENT: Final = "latent_tensor"  # the tensor that SaveLatent writes
_LONGEST_HEADER: Final = 16 * 1024 * 1024
_MOST_TENSORS: Final = 100_000
_CHUNK: Final = 1024 * 1024  # looked at in one go; a multiple of every number's size

_SIZES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
# The highest byte of a number that is infinite or none. In BF16, F32 and F64 it is also that of finite numbers beyond
# 1e38, which no latent holds either.
_NOT_FINITE: Final = {
    "F16": bytes(byte for byte in range(256) if byte & 0x7C == 0x7C),
    "BF16": b"\x7f\xff",
    "F32": b"\x7f\xff",
    "F64": b"\x7f\xff",
    "F8_E4M3": b"\x7f\xff",
    "F8_E5M2": bytes(byte for byte in range(256) if byte & 0x7C == 0x7C),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; `start` and `end` are places in the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read(data: bytes) -> tuple[Tensor, ...]:
    """The tensors of a whole file, in its order; BrokenError when it is none, or holds numbers that are none."""
    if len(data) < 8:
        raise cut_off("its header", 8, len(data))
    size = int.from_bytes(data[:8], "little")
    if size > _LONGEST_HEADER:
        raise BrokenError("no safetensors file: its header would be longer than 16 MiB")
    if 8 + size > len(data):
        raise cut_off("its header", 8 + size, len(data))
    tensors = sorted(_tensors(data[8 : 8 + size], 8 + size), key=lambda tensor: (tensor.start, tensor.end))
    at = 8 + size
    for tensor in tensors:
        if tensor.end > len(data):
            raise cut_off(f"tensor {tensor.name[:40]!r}", tensor.end, len(data))
        if tensor.start != at:
            raise BrokenError(f"the tensors do not follow one another at {tensor.name[:40]!r}")
        at = tensor.end
    if at != len(data):
        raise BrokenError(f"{len(data) - at:,} bytes belong to no tensor")
    for tensor in tensors:
        _check_finite(data, tensor)
    return tuple(tensors)


def is_all_zero(data: bytes, tensor: Tensor) -> bool:
    """Whether there is nothing in a tensor that has a size."""
    return tensor.end > tensor.start and data.count(0, tensor.start, tensor.end) == tensor.end - tensor.start


def _tensors(header: bytes, base: int) -> Iterator[Tensor]:
    try:
        document = orjson.loads(header)
    except orjson.JSONDecodeError:
        raise BrokenError("no safetensors file: its header is not JSON") from None
    if not isinstance(document, dict) or len(document) > _MOST_TENSORS:
        raise BrokenError("no safetensors file: its header is no object of tensors")
    for name, entry in document.items():
        if name != "__metadata__":
            yield _tensor(name, entry, base)


def _tensor(name: str, entry: object, base: int) -> Tensor:
    facts: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
    kind, shape, offsets = facts.get("dtype"), facts.get("shape"), facts.get("data_offsets")
    if not isinstance(kind, str) or not _is_wholes(shape) or not _is_wholes(offsets) or len(offsets) != 2:
        raise BrokenError(f"tensor {name[:40]!r} is not described as safetensors does it")
    start, end = offsets
    bits = _SIZES.get(kind)
    if end < start or (bits is not None and math.prod(shape) * bits != end - start):
        raise BrokenError(f"tensor {name[:40]!r} of shape {_words(shape)} cannot lie in {end - start:,} bytes")
    return Tensor(name, kind, tuple(shape), base + start, base + end)


def _is_wholes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= 16 and all(type(n) is int and 0 <= n < 2**48 for n in value)


def _words(shape: list[int]) -> str:
    return "x".join(str(side) for side in shape) or "()"


def _check_finite(data: bytes, tensor: Tensor) -> None:
    bad = _NOT_FINITE.get(tensor.kind)
    if bad is None:
        return
    width = _SIZES[tensor.kind]
    for start in range(tensor.start, tensor.end, _CHUNK):
        highest = data[start + width - 1 : min(start + _CHUNK, tensor.end) : width]
        if len(highest.translate(None, bad)) != len(highest):
            raise BrokenError(f"tensor {tensor.name[:40]!r} holds NaN or infinite numbers")

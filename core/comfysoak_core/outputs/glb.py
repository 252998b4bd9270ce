"""glTF in one binary file: its chunks, and that it is whole."""

from __future__ import annotations

import struct

import orjson

from comfysoak_core.outputs.media import BrokenError, cut_off

_LONGEST_JSON = 16 * 1024 * 1024  # a longer one is not looked into


def check(data: bytes) -> None:
    """BrokenError when this is no whole GLB file with a mesh in it."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise BrokenError("no GLB: it does not begin with glTF")
    length, size, kind = struct.unpack_from("<II4s", data, 8)
    if length != len(data):
        raise cut_off("the file", length, len(data)) if length > len(data) else BrokenError("more than its head says")
    if kind != b"JSON":
        raise BrokenError("no GLB: its first chunk is not JSON")
    if 20 + size > len(data):
        raise cut_off("a chunk", 20 + size, len(data))
    if size > _LONGEST_JSON:
        return
    try:
        document = orjson.loads(data[20 : 20 + size])
    except orjson.JSONDecodeError:
        raise BrokenError("no GLB: its description is not JSON") from None
    if not isinstance(document, dict) or not document.get("meshes"):
        raise BrokenError("a GLB without any mesh")

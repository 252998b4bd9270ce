"""WAV by its chunks: format, length, whether all of it is there, and whether there is anything to hear."""

from __future__ import annotations

import struct
from typing import Final

from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_STREAMED: Final = frozenset({0, 0xFFFFFFFF})  # lengths written by what could not go back to tell


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    if len(data) < 12 or data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise BrokenError("no WAV: it does not begin as one")
    at, form = 12, b""
    for _ in range(MOST_UNITS):
        if at + 8 > len(data):
            break
        kind, size = struct.unpack_from("<4sI", data, at)
        start = at + 8
        if kind == b"data":
            return _media(form, data, start, len(data) if size in _STREAMED else start + size)
        if start + size > len(data):
            raise cut_off("a chunk", start + size, len(data))
        if kind == b"fmt ":
            form = data[start : start + min(size, 40)]
        at = start + size + (size & 1)
    raise BrokenError("a WAV without any sound")


def _media(form: bytes, data: bytes, start: int, end: int) -> Media:
    if len(form) < 16:
        raise BrokenError("a WAV that does not say its format")
    if end > len(data):
        raise cut_off("the sound", end, len(data))
    if end == start:
        raise BrokenError("a WAV without any sound")
    bytes_a_second, bits = struct.unpack_from("<I", form, 8)[0], struct.unpack_from("<H", form, 14)[0]
    quiet = 0x80 if bits == 8 else 0
    silent = data.count(quiet, start, end) == end - start
    return Media(seconds=(end - start) / bytes_a_second if bytes_a_second else None, silent=silent)

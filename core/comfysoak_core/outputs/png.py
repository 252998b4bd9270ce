"""Proof that a PNG is whole, at a tenth of what decoding it costs; where there is none, a decoder has the last word.

What a picture model saves is a plain PNG: no palette, not interlaced, not animated. Of such a file every chunk has its
sum, the compressed pixels theirs, and their number follows from the head: when all of that holds, each byte is as it
was written, and decoding can only succeed.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEAD: Final = struct.Struct(">II5B")
_CHUNK: Final = struct.Struct(">I4s")
_SUM: Final = struct.Struct(">I")
_CHANNELS: Final = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type, without palettes
_DEPTHS: Final = (8, 16)
_HIGHEST_FILTER: Final = 4
_LEAST_BYTES: Final = len(_SIGNATURE) + 12 + _HEAD.size


@dataclass(frozen=True, slots=True)
class PlainPng:
    """The head of a plain PNG, as it says; `proven` looks at the rest."""

    data: bytes
    width: int
    height: int
    pixel_bytes: int

    def proven(self, *, varied: bool = False) -> bool:
        """Whether the file is whole, beyond doubt; with `varied`, also that it is not of one colour all over."""
        packed = self._packed()
        if packed is None:
            return False
        row_bytes = 1 + self.width * self.pixel_bytes
        inflater = zlib.decompressobj()
        try:
            pixels = inflater.decompress(packed, row_bytes * self.height + 1)
        except zlib.error:
            return False
        if not inflater.eof or inflater.unused_data or len(pixels) != row_bytes * self.height:
            return False
        if max(pixels[::row_bytes]) > _HIGHEST_FILTER:
            return False
        return not varied or self._varies(pixels, row_bytes)

    def _packed(self) -> bytes | None:
        """The compressed pixels; None where a chunk is damaged, out of place, or says that more is to be known."""
        data, position, packed = self.data, len(_SIGNATURE), list[bytes]()
        while position + 12 <= len(data):
            length, kind = _CHUNK.unpack_from(data, position)
            end = position + 8 + length
            if end + 4 > len(data) or zlib.crc32(data[position + 4 : end]) != _SUM.unpack_from(data, end)[0]:
                return None
            if kind == b"IDAT":
                packed.append(data[position + 8 : end])
            elif kind == b"IEND":
                return b"".join(packed) if end + 4 == len(data) and length == 0 else None
            elif kind == b"acTL" or (kind[:1].isupper() and position > len(_SIGNATURE)):
                return None  # animated, or critical and not known here
            position = end + 4
        return None

    def _varies(self, pixels: bytes, row_bytes: int) -> bool:
        """Whether a row in the middle alone shows several colours.

        In a picture of one colour every filter leaves nothing but zeros after a row's first pixel, and unfiltered rows
        repeat their first one.
        """
        start = self.height // 2 * row_bytes
        filtered, row = pixels[start], pixels[start + 1 : start + row_bytes]
        rest = row[self.pixel_bytes :]
        return rest != row[: -self.pixel_bytes] if filtered == 0 else rest.count(0) != len(rest)


def plain_png(data: bytes) -> PlainPng | None:
    """What the head of `data` says; None where that is no plain PNG."""
    if len(data) < _LEAST_BYTES or not data.startswith(_SIGNATURE):
        return None
    length, kind = _CHUNK.unpack_from(data, len(_SIGNATURE))
    width, height, depth, colour, compression, filtering, interlaced = _HEAD.unpack_from(data, len(_SIGNATURE) + 8)
    known = (length, kind, compression, filtering, interlaced) == (_HEAD.size, b"IHDR", 0, 0, 0)
    if not known or depth not in _DEPTHS or colour not in _CHANNELS or not width or not height:
        return None
    return PlainPng(data, width, height, _CHANNELS[colour] * depth // 8)

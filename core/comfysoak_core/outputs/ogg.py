"""Ogg (Opus, Vorbis, FLAC) by its pages (RFC 3533): none is missing, the last is there and whole."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from comfysoak_core.outputs.checksum import Checksum
from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_HEAD: Final = 27
_LAST: Final = 4
_NO_END: Final = (1 << 64) - 1  # the position of a page on which no packet ends
crc32 = Checksum(0x04C11DB7, 32)  # of a page, with its own four bytes zero


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    content: int  # where its content begins
    end: int
    flags: int
    position: int
    stream: int
    number: int


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    first = page = _page(data, 0)
    _check(data, first)
    numbers = {first.stream: first.number}
    position = 0
    for _ in range(MOST_UNITS):
        if page.stream == first.stream and page.position != _NO_END:
            position = max(position, page.position)
        if page.end == len(data):
            break
        page = _page(data, page.end)
        if page.number != numbers.get(page.stream, -1) + 1 and page.stream in numbers:
            raise BrokenError(f"page {numbers[page.stream] + 1:,} is missing")
        if page.stream in numbers or len(numbers) < 100:
            numbers[page.stream] = page.number
    else:
        return Media()
    _check(data, page)
    if not page.flags & _LAST:
        raise BrokenError("cut off: its last page is not there")
    return Media(seconds=_seconds(data[first.content : first.end], position))


def _page(data: bytes, at: int) -> _Page:
    if data[at : at + 4] != b"OggS":
        raise BrokenError(f"no Ogg page at byte {at:,}" if at else "no Ogg: it does not begin with OggS")
    if at + _HEAD > len(data):
        raise cut_off("a page", at + _HEAD, len(data))
    flags, position, stream, number, _, segments = struct.unpack_from("<BQIIIB", data, at + 5)
    content = at + _HEAD + segments
    end = content + sum(data[at + _HEAD : content])
    if end > len(data):
        raise cut_off("a page", end, len(data))
    return _Page(at, content, end, flags, position, stream, number)


def _check(data: bytes, page: _Page) -> None:
    raw = data[page.start : page.start + 22] + bytes(4) + data[page.start + 26 : page.end]
    if crc32(raw) != int.from_bytes(data[page.start + 22 : page.start + 26], "little"):
        raise BrokenError(f"damaged: the page at byte {page.start:,} does not fit its checksum")


def _seconds(head: bytes, position: int) -> float | None:
    """The length by the last position and what the first packet says of it."""
    if head[:8] == b"OpusHead" and len(head) >= 12:
        return max(position - int.from_bytes(head[10:12], "little"), 0) / 48_000
    if head[:7] == b"\x01vorbis" and len(head) >= 16:
        rate = int.from_bytes(head[12:16], "little")
        return position / rate if rate else None
    return None

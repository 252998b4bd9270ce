"""MP4, MOV and M4A by their boxes (ISO/IEC 14496-12): tracks, length, and that every sample lies in the file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_TOP: Final = 10_000  # boxes of one level
_MOST_TRACKS: Final = 64  # each may tell of many samples in a few bytes
_LONGEST_S: Final = 10 * 365 * 86_400.0  # what is longer is a damaged number


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int  # of its content
    end: int


@dataclass(frozen=True, slots=True)
class _Track:
    handler: bytes  # b"vide", b"soun", ...
    seconds: float | None
    samples: int | None
    width: int
    height: int


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    top = list(_boxes(data, 0, len(data)))
    kinds = {box.kind for box in top}
    movie = next((box for box in top if box.kind == b"moov"), None)
    if movie is None:
        raise BrokenError("no MP4: it has no moov box, as one whose writing was cut off")
    fragmented = b"moof" in kinds
    if not fragmented and b"mdat" not in kinds:
        raise BrokenError("an MP4 without any data")
    boxes = [box for box in _boxes(data, movie.start, movie.end) if box.kind == b"trak"]
    if not boxes:
        raise BrokenError("an MP4 without any track")
    if len(boxes) > _MOST_TRACKS:
        raise BrokenError(f"an MP4 of more than {_MOST_TRACKS} tracks")
    return _media([_track(data, box, fragmented=fragmented) for box in boxes])


def _media(tracks: list[_Track]) -> Media:
    film = next((track for track in tracks if track.handler == b"vide"), None)
    lengths = [track.seconds for track in tracks if track.seconds is not None]
    if film is None:
        return Media(seconds=max(lengths, default=None))
    if film.samples == 0:
        raise BrokenError("a film without any frame")
    return Media(max(lengths, default=None), film.samples, film.width or None, film.height or None)


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    for _ in range(_TOP):
        if start >= end:
            return
        if start + 8 > end:
            raise cut_off("a box", start + 8, end)
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            if start + 16 > end:
                raise cut_off("a box", start + 16, end)
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        if size == 0:
            size = end - start
        if size < head or not kind.replace(b"\xa9", b"c").isascii():
            raise BrokenError(f"no MP4: no box at byte {start:,}")
        if start + size > end:
            raise cut_off(f"box {kind.decode('latin-1')!r}", start + size, end)
        yield _Box(kind, start + head, start + size)
        start += size
    raise BrokenError(f"no MP4: more than {_TOP:,} boxes in one")


def _find(data: bytes, inside: _Box, *path: bytes) -> _Box | None:
    """The first box along `path`."""
    box: _Box | None = inside
    for kind in path:
        if box is None:
            return None
        box = next((found for found in _boxes(data, box.start, box.end) if found.kind == kind), None)
    return box


def _track(data: bytes, trak: _Box, *, fragmented: bool) -> _Track:
    handler = _find(data, trak, b"mdia", b"hdlr")
    table = _find(data, trak, b"mdia", b"minf", b"stbl")
    width, height = _size(data, _find(data, trak, b"tkhd"))
    return _Track(
        handler=data[handler.start + 8 : handler.start + 12] if handler is not None else b"",
        seconds=_seconds(data, _find(data, trak, b"mdia", b"mdhd")),
        samples=None if fragmented or table is None else _samples(data, table),
        width=width,
        height=height,
    )


def _size(data: bytes, head: _Box | None) -> tuple[int, int]:
    """Width and height, which stand as 16.16 at the end of a track's header."""
    if head is None or head.end - head.start < 8:
        return 0, 0
    width, height = struct.unpack_from(">II", data, head.end - 8)
    return width >> 16, height >> 16


def _seconds(data: bytes, head: _Box | None) -> float | None:
    if head is None:
        return None
    form, at = (">IQ", head.start + 20) if data[head.start : head.start + 1] == b"\x01" else (">II", head.start + 12)
    if at + struct.calcsize(form) > head.end:
        return None
    scale, duration = struct.unpack_from(form, data, at)
    seconds = duration / scale if scale else None
    return seconds if seconds is not None and seconds < _LONGEST_S else None


def _samples(data: bytes, table: _Box) -> int | None:
    """How many samples there are, all of which lie in the file; None where there are too many to look at."""
    sizes_box, chunks_box = _find(data, table, b"stsz"), _find(data, table, b"stsc")
    if sizes_box is None or chunks_box is None:
        return None
    uniform, count = _numbers(data, sizes_box, 4, 2)
    if not uniform and sizes_box.start + 12 + 4 * count > sizes_box.end:
        raise BrokenError("box 'stsz' is shorter than the table in it")
    if count > MOST_UNITS:
        return None
    sizes = (uniform,) * count if uniform else _numbers(data, sizes_box, 12, count)
    offsets = _offsets(data, table)
    if offsets is None:
        return None
    at = 0
    for offset, samples in zip(offsets, _samples_a_chunk(data, chunks_box, len(offsets)), strict=False):
        end = offset + sum(sizes[at : at + samples])
        at += samples
        if end > len(data):
            raise cut_off(f"sample {min(at, count):,} of {count:,}", end, len(data))
    if at < count:
        raise BrokenError(f"only {at:,} of {count:,} samples are anywhere")
    return int(count)


def _offsets(data: bytes, table: _Box) -> tuple[int, ...] | None:
    """Where the chunks begin; None where there are too many."""
    for kind, width in ((b"stco", 4), (b"co64", 8)):
        box = _find(data, table, kind)
        if box is not None:
            (count,) = _numbers(data, box, 4, 1)
            return _numbers(data, box, 8, count, width) if count <= MOST_UNITS else None
    return ()


def _samples_a_chunk(data: bytes, box: _Box, chunks: int) -> Iterator[int]:
    """How many samples each chunk holds; the table tells only where that changes."""
    (count,) = _numbers(data, box, 4, 1)
    if count > MOST_UNITS:
        raise BrokenError("a table of chunks without end")
    entries = _numbers(data, box, 8, 3 * count)
    firsts, amounts = entries[::3], entries[1::3]
    for index, amount in enumerate(amounts):
        after = firsts[index + 1] if index + 1 < count else chunks + 1
        for _ in range(min(max(after - firsts[index], 0), chunks)):
            yield amount


def _numbers(data: bytes, box: _Box, at: int, count: int, width: int = 4) -> tuple[int, ...]:
    """`count` whole numbers from byte `at` of a box's content on."""
    start = box.start + at
    if start + count * width > box.end:
        raise BrokenError(f"box {box.kind.decode('latin-1')!r} is shorter than the table in it")
    return struct.unpack_from(f">{count}{'I' if width == 4 else 'Q'}", data, start)

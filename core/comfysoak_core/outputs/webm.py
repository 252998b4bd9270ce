"""WebM and Matroska by their elements (RFC 8794 and 9559): tracks, length, frames, and that nothing is missing."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_HEAD, _SEGMENT, _CLUSTER, _TRACK_ENTRY = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xAE
_INFO, _TRACKS, _VIDEO, _BLOCK_GROUP = 0x1549A966, 0x1654AE6B, 0xE0, 0xA0
_DOCTYPE, _SCALE, _DURATION = 0x4282, 0x2AD7B1, 0x4489
_TRACK_NUMBER, _TRACK_TYPE, _WIDTH, _HEIGHT = 0xD7, 0x83, 0xB0, 0xBA
_SIMPLE_BLOCK, _BLOCK = 0xA3, 0xA1
_OPENED: Final = frozenset({_HEAD, _SEGMENT, _CLUSTER, _TRACK_ENTRY, _INFO, _TRACKS, _VIDEO, _BLOCK_GROUP})
_FILM: Final = 1
_UNKNOWN_SIZE: Final = -1
_LONGEST_S: Final = 10 * 365 * 86_400.0


@dataclass(slots=True)
class _Found:
    """What has been read so far."""

    doctype: bytes = b""
    scale_ns: int = 1_000_000
    duration: float | None = None
    types: list[int] = field(default_factory=list)  # of the tracks, in their order
    numbers: list[int] = field(default_factory=list)
    width: int | None = None
    height: int | None = None
    frames: dict[int, int] = field(default_factory=dict)  # by track number


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    found, at = _Found(), 0
    for _ in range(MOST_UNITS):
        if at >= len(data):
            return _media(found, complete=True)
        at = _element(data, at, found)
    return _media(found, complete=False)


def _element(data: bytes, at: int, found: _Found) -> int:
    """Read the element at `at`; where the next one is, which for one that holds others is inside it."""
    kind, start = _vint(data, at, keep_marker=True)
    if at == 0 and kind != _HEAD:
        raise BrokenError("no WebM: it does not begin with an EBML header")
    size, start = _vint(data, start)
    end = len(data) if size == _UNKNOWN_SIZE else start + size
    if end > len(data):
        raise cut_off(_NAMES.get(kind, f"element {kind:X}"), end, len(data))
    if kind in _OPENED:
        return start
    _take(kind, data, start, end, found)
    return end


_NAMES: Final = {_SEGMENT: "the segment", _CLUSTER: "a cluster", _SIMPLE_BLOCK: "a block", _BLOCK: "a block"}


def _take(kind: int, data: bytes, start: int, end: int, found: _Found) -> None:
    if kind in (_SIMPLE_BLOCK, _BLOCK):
        track, _ = _vint(data, start)
        if len(found.frames) < 100 or track in found.frames:
            found.frames[track] = found.frames.get(track, 0) + 1
    elif kind == _DOCTYPE:
        found.doctype = data[start : min(end, start + 20)].rstrip(b"\0")
    elif kind == _DURATION:
        found.duration = _float(data[start : min(end, start + 8)])
    elif kind in _WHOLE:
        number = int.from_bytes(data[start : min(end, start + 8)], "big")
        _WHOLE[kind](found, number)


def _vint(data: bytes, at: int, *, keep_marker: bool = False) -> tuple[int, int]:
    """A number of variable length and where it ends; `_UNKNOWN_SIZE` for a size of all ones."""
    if at >= len(data):
        raise cut_off("an element", at + 1, len(data))
    first = data[at]
    length = 9 - first.bit_length()
    if length > 8:
        raise BrokenError(f"no WebM: no element at byte {at:,}")
    if at + length > len(data):
        raise cut_off("an element", at + length, len(data))
    value = int.from_bytes(data[at : at + length], "big")
    if keep_marker:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (_UNKNOWN_SIZE if value == (1 << 7 * length) - 1 else value), at + length


def _float(raw: bytes) -> float | None:
    if len(raw) not in (4, 8):
        return None
    value = float(struct.unpack(">f" if len(raw) == 4 else ">d", raw)[0])
    return value if value >= 0 else None  # NaN is not


def _set_scale(found: _Found, number: int) -> None:
    found.scale_ns = number or 1_000_000


def _set_width(found: _Found, number: int) -> None:
    found.width = found.width or number


def _set_height(found: _Found, number: int) -> None:
    found.height = found.height or number


def _add_number(found: _Found, number: int) -> None:
    found.numbers.append(number)


def _add_type(found: _Found, number: int) -> None:
    found.types.append(number)


_WHOLE: Final = {
    _SCALE: _set_scale,
    _WIDTH: _set_width,
    _HEIGHT: _set_height,
    _TRACK_NUMBER: _add_number,
    _TRACK_TYPE: _add_type,
}


def _media(found: _Found, *, complete: bool) -> Media:
    if found.doctype not in (b"webm", b"matroska"):
        raise BrokenError("no WebM: its header names no WebM or Matroska")
    if not found.numbers:
        raise BrokenError("a WebM without any track")
    if complete and not found.frames:
        raise BrokenError("a WebM without any frame")
    films = [number for number, kind in zip(found.numbers, found.types, strict=False) if kind == _FILM]
    frames = sum(found.frames.get(number, 0) for number in films) if films and complete else None
    if frames == 0:
        raise BrokenError("a film without any frame")
    seconds = None if found.duration is None else found.duration * found.scale_ns / 1e9
    known = seconds is not None and seconds < _LONGEST_S
    return Media(seconds if known else None, frames, found.width, found.height)

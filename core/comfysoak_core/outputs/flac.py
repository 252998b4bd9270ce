"""FLAC by its frames (RFC 9639): their headers follow one another, the last is whole, and the samples add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfysoak_core.outputs.checksum import Checksum
from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_STREAMINFO_BYTES: Final = 34
_LONGEST_HEADER: Final = 16
_MOST_TRIES: Final = 2 * MOST_UNITS  # places that look like the head of a frame
_LONGEST_CHECKED: Final = 1024 * 1024  # of a last frame
_BLOCK_SIZES: Final = {1: 192} | {code: 576 << code - 2 for code in range(2, 6)} | {
    code: 256 << code - 8 for code in range(8, 16)
}  # fmt: skip
crc8, crc16 = Checksum(0x07, 8), Checksum(0x8005, 16)  # of a frame's header, and of a whole frame


@dataclass(frozen=True, slots=True)
class _Frame:
    at: int
    number: int  # of the frame, or of its first sample where block sizes vary
    samples: int


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    if data[:4] != b"fLaC":
        raise BrokenError("no FLAC: it does not begin with fLaC")
    info, start = _blocks(data)
    rate = int.from_bytes(info[10:13], "big") >> 4
    total = int.from_bytes(info[13:18], "big") & (1 << 36) - 1
    seen = _samples(data, start)
    if seen is not None and total and seen != total:
        raise BrokenError(f"cut off: {seen:,} of {total:,} samples")
    samples = total or seen
    return Media(seconds=samples / rate if rate and samples else None)


def _blocks(data: bytes) -> tuple[bytes, int]:
    """The stream's description, and where its frames begin."""
    at, info = 4, b""
    for _ in range(MOST_UNITS):
        if at + 4 > len(data):
            break
        head, size = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
        if at + 4 + size > len(data):
            raise cut_off("its description", at + 4 + size, len(data))
        if head & 0x7F == 0 and size >= _STREAMINFO_BYTES:
            info = data[at + 4 : at + 4 + _STREAMINFO_BYTES]
        at += 4 + size
        if head & 0x80:
            break
    if not info:
        raise BrokenError("no FLAC: it does not describe its stream")
    return info, at


def _samples(data: bytes, start: int) -> int | None:
    """The samples of all frames; None where there are too many to look at."""
    frame = _frame(data, start)
    if frame is None or frame.number != 0:
        raise BrokenError("a FLAC without any frame" if start >= len(data) else f"no FLAC frame at byte {start:,}")
    by_sample = data[start + 1] & 1
    sync, total, at = data[start : start + 2], frame.samples, start + 2
    for _ in range(_MOST_TRIES):
        at = data.find(sync, at)
        if at < 0:
            _check_last(data, frame)
            return total
        after = frame.number + (frame.samples if by_sample else 1)
        found = _frame(data, at)
        if found is not None and found.number == after:
            frame, total = found, total + found.samples
        at += 1
    return None


def _check_last(data: bytes, frame: _Frame) -> None:
    size = len(data) - frame.at
    if size <= _LONGEST_CHECKED and crc16(data[frame.at : -2]) != int.from_bytes(data[-2:], "big"):
        raise BrokenError(f"cut off or damaged: the last frame, at byte {frame.at:,}, does not fit its checksum")


def _frame(data: bytes, at: int) -> _Frame | None:
    """The frame whose head is at `at`; None where there is none."""
    head = data[at : at + _LONGEST_HEADER]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, used = _coded_number(head[4:])
    at_end = 4 + used
    if number is None or size_code == 0 or rate_code == 15:
        return None
    extra = {6: 1, 7: 2}.get(size_code, 0)
    samples = _BLOCK_SIZES.get(size_code) or int.from_bytes(head[at_end : at_end + extra], "big") + 1
    at_end += extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at_end >= len(head) or crc8(head[:at_end]) != head[at_end]:
        return None
    return _Frame(at, number, samples)


def _coded_number(raw: bytes) -> tuple[int | None, int]:
    """A number coded as UTF-8 codes characters, and its bytes."""
    first = raw[0]
    if first < 0x80:
        return first, 1
    length = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= length <= 7 or len(raw) < length or any(byte & 0xC0 != 0x80 for byte in raw[1:length]):
        return None, 0
    value = first & (1 << 7 - length) - 1 if length < 7 else 0
    for byte in raw[1:length]:
        value = value << 6 | byte & 0x3F
    return value, length

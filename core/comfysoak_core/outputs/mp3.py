"""MP3 by its frames: one follows the other up to the end, and there are as many as the first one says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfysoak_core.outputs.media import MOST_UNITS, BrokenError, Media, cut_off

_V1_L3: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_V1_L2: Final = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_V2_L23: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES: Final = (44_100, 48_000, 32_000)
_TAGS: Final = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # what may follow the last frame


@dataclass(frozen=True, slots=True)
class _Frame:
    size: int
    samples: int
    rate: int


def read(data: bytes) -> Media:
    """What a whole file tells; BrokenError when it is none."""
    at = start = _after_tag(data)
    frames, seconds = 0, 0.0
    while at < len(data):
        frame = _frame(data, at)
        if frame is None:
            if frames == 0:
                raise BrokenError(f"no MP3: no frame at byte {at:,}")
            if data.startswith(_TAGS, at) or data.count(0, at) == len(data) - at:
                break
            raise BrokenError(f"damaged: no frame at byte {at:,}, after {frames:,} of them")
        if at + frame.size > len(data):
            raise cut_off(f"frame {frames + 1:,}", at + frame.size, len(data))
        frames, seconds, at = frames + 1, seconds + frame.samples / frame.rate, at + frame.size
        if frames >= MOST_UNITS:
            return Media()
    if frames == 0:
        raise BrokenError("an MP3 without any frame")
    told = _told_frames(data[start : start + 200])
    if told is not None and frames - 1 < told:
        raise BrokenError(f"cut off: {frames - 1:,} of {told:,} frames")
    return Media(seconds=seconds)


def _after_tag(data: bytes) -> int:
    """Where the frames begin: after an ID3 tag, whose size is told in sevens of bits."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    end = 10 + size + (10 if data[5] & 0x10 else 0)
    if end > len(data):
        raise cut_off("its tag", end, len(data))
    return end


def _frame(data: bytes, at: int) -> _Frame | None:
    """The frame whose head is at `at`; None where there is none."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (
        head[1] >> 3 & 3,
        head[1] >> 1 & 3,
    )  # version 3 is MPEG 1, 2 is 2, 0 is 2.5; layer 1 is III, 2 is II
    rate_code, bits_code, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer not in (1, 2) or rate_code == 3 or bits_code in (0, 15):
        return None
    rate = _RATES[rate_code] >> {3: 0, 2: 1, 0: 2}[version]
    first = version == 3
    kilobits = (_V2_L23 if not first else _V1_L3 if layer == 1 else _V1_L2)[bits_code]
    samples = 576 if layer == 1 and not first else 1152
    return _Frame(samples // 8 * kilobits * 1000 // rate + padding, samples, rate)


def _told_frames(first: bytes) -> int | None:
    """How many frames follow the first one, where that one is there to say so."""
    for mark in (b"Xing", b"Info"):
        at = first.find(mark, 4, 44)
        if at >= 0 and len(first) >= at + 12 and first[at + 7] & 1:
            return int.from_bytes(first[at + 8 : at + 12], "big")
    return None

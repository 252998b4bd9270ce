"""Animations and films as files: animated WebP and PNG; VP8 in WebM, JPEG in MP4, which need no encoder of films."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Literal

from PIL import Image

from comfysoak_simulator import pictures

Form = Literal["webp", "png", "webm", "mp4"]
_SCALE = 1000  # a second, in a film's own time


def film(form: Form, frames: Sequence[Image.Image], fps: float) -> bytes:
    """The frames, all of one size, as a file."""
    if form == "webm":
        return _webm(frames, fps)
    if form == "mp4":
        return _mp4(frames, fps)
    buffer = BytesIO()
    more: dict[str, bool] = {"lossless": True} if form == "webp" else {}
    frames[0].save(
        buffer, form.upper(), save_all=True, append_images=frames[1:], duration=max(int(1000 / fps), 1), **more
    )
    return buffer.getvalue()


def _webm(frames: Sequence[Image.Image], fps: float) -> bytes:
    width, height = frames[0].size
    video = _element(0xE0, _whole(0xB0, width) + _whole(0xBA, height))
    track = _whole(0xD7, 1) + _whole(0x73C5, 1) + _whole(0x83, 1) + _element(0x86, b"V_VP8") + video
    info = _whole(0x2AD7B1, 1_000_000) + _element(0x4489, struct.pack(">d", len(frames) * _SCALE / fps))
    info += _element(0x4D80, b"ComfySoak") + _element(0x5741, b"ComfySoak")
    clusters = b"".join(
        _element(0x1F43B675, _whole(0xE7, round(index * _SCALE / fps)) + _element(0xA3, b"\x81\0\0\x80" + _vp8(frame)))
        for index, frame in enumerate(frames)
    )
    head = _whole(0x4286, 1) + _whole(0x42F7, 1) + _whole(0x42F2, 4) + _whole(0x42F3, 8) + _element(0x4282, b"webm")
    head += _whole(0x4287, 2) + _whole(0x4285, 2)
    segment = _element(0x1549A966, info) + _element(0x1654AE6B, _element(0xAE, track)) + clusters
    return _element(0x1A45DFA3, head) + _element(0x18538067, segment)


def _vp8(frame: Image.Image) -> bytes:
    """A key frame: what a lossy WebP holds."""
    file = pictures.encode(frame, "WEBP", quality=80)
    at = file.index(b"VP8 ")
    size = int.from_bytes(file[at + 4 : at + 8], "little")
    return file[at + 8 : at + 8 + size]


def _element(kind: int, content: bytes) -> bytes:
    name = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return name + (1 << 56 | len(content)).to_bytes(8, "big") + content


def _whole(kind: int, number: int) -> bytes:
    return _element(kind, number.to_bytes(max((number.bit_length() + 7) // 8, 1), "big"))


def _mp4(frames: Sequence[Image.Image], fps: float) -> bytes:
    samples = [pictures.encode(frame, "JPEG", quality=80) for frame in frames]
    kind = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    data = b"".join(samples)
    movie = _movie(samples, frames[0].size, fps, 0)
    offset = len(kind) + len(movie) + 8
    return kind + _movie(samples, frames[0].size, fps, offset) + _box(b"mdat", data)


_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _movie(samples: Sequence[bytes], size: tuple[int, int], fps: float, offset: int) -> bytes:
    """The `moov` box, for samples that lie one after the other from `offset` on."""
    each = max(round(_SCALE / fps), 1)
    length = each * len(samples)
    width, height = size
    head = _box(
        b"mvhd", bytes(12) + struct.pack(">IIIH", _SCALE, length, 0x10000, 0x100) + bytes(10) + _MATRIX + bytes(24)
        + struct.pack(">I", 2),
    )  # fmt: skip
    track_head = _box(
        b"tkhd", struct.pack(">IIIIII", 7, 0, 0, 1, 0, length) + bytes(16) + _MATRIX
        + struct.pack(">II", width << 16, height << 16),
    )  # fmt: skip
    media_head = _box(b"mdhd", bytes(12) + struct.pack(">IIHH", _SCALE, length, 0x55C4, 0))
    handler = _box(b"hdlr", bytes(8) + b"vide" + bytes(12) + b"ComfySoak\0")
    here = _box(b"dinf", _box(b"dref", bytes(4) + struct.pack(">I", 1) + _box(b"url ", b"\0\0\0\1")))
    table = _box(b"stbl", _description(width, height) + _sample_tables(samples, each, offset))
    media = _box(b"mdia", media_head + handler + _box(b"minf", _box(b"vmhd", b"\0\0\0\1" + bytes(8)) + here + table))
    return _box(b"moov", head + _box(b"trak", track_head + media))


def _description(width: int, height: int) -> bytes:
    """JPEG in MPEG-4: object type 6C, stream of pictures."""
    config = b"\x04\x0d\x6c\x11" + bytes(11)
    stream = b"\x03" + bytes([3 + len(config) + 3]) + b"\0\1\0" + config + b"\x06\x01\x02"
    entry = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HHII", width, height, 0x480000, 0x480000)
    entry += bytes(4) + struct.pack(">H", 1) + bytes(32) + struct.pack(">Hh", 24, -1) + _box(b"esds", bytes(4) + stream)
    return _box(b"stsd", bytes(4) + struct.pack(">I", 1) + _box(b"mp4v", entry))


def _sample_tables(samples: Sequence[bytes], each: int, offset: int) -> bytes:
    count = len(samples)
    times = _box(b"stts", bytes(4) + struct.pack(">III", 1, count, each))
    chunks = _box(b"stsc", bytes(4) + struct.pack(">IIII", 1, 1, count, 1))
    sizes = _box(b"stsz", bytes(8) + struct.pack(f">{count + 1}I", count, *map(len, samples)))
    return times + chunks + sizes + _box(b"stco", bytes(4) + struct.pack(">II", 1, offset))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content

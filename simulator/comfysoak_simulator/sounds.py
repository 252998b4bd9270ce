"""Sounds as files: silent, of the right length, and whole. FLAC, MP3 and Opus, made without an encoder."""

from __future__ import annotations

import struct
from typing import Literal

from comfysoak_core.outputs.flac import crc8, crc16
from comfysoak_core.outputs.ogg import crc32

Codec = Literal["flac", "mp3", "opus"]
_BLOCK = 4096  # samples of a FLAC frame
_MP3_SAMPLES, _MP3_BYTES = 1152, 417  # of a frame at 128 kbit/s and 44.1 kHz
_OPUS_RATE, _OPUS_SAMPLES, _PRE_SKIP = 48_000, 960, 312
_SILENT_PACKET = b"\xf8\xff\xfe"  # 20 ms
_PACKETS_A_PAGE = 50
_STREAM = 0x5EED
_FIRST, _LAST = 2, 4


def silence(codec: Codec, seconds: float, rate: int, channels: int) -> bytes:
    """A silent file."""
    samples = max(round(seconds * rate), 1)
    if codec == "flac":
        return _flac(samples, rate, channels)
    return _mp3(seconds) if codec == "mp3" else _opus(seconds, channels)


def _flac(samples: int, rate: int, channels: int) -> bytes:
    info = struct.pack(">HH", _BLOCK, _BLOCK) + bytes(6)  # sizes of frames unknown
    info += (rate << 44 | channels - 1 << 41 | 15 << 36 | samples).to_bytes(8, "big") + bytes(16)
    frames = (
        _flac_frame(number, min(_BLOCK, samples - number * _BLOCK), channels) for number in range(-(-samples // _BLOCK))
    )
    return b"fLaC\x80" + len(info).to_bytes(3, "big") + info + b"".join(frames)


def _flac_frame(number: int, samples: int, channels: int) -> bytes:
    """A frame whose channels are each constant: zero, in 16 bits."""
    head = b"\xff\xf8\x70" + bytes([channels - 1 << 4 | 4 << 1]) + _coded(number) + struct.pack(">H", samples - 1)
    frame = head + bytes([crc8(head)]) + bytes(3) * channels
    return frame + struct.pack(">H", crc16(frame))


def _coded(number: int) -> bytes:
    """As UTF-8 codes characters."""
    if number < 0x80:
        return bytes([number])
    if number < 0x800:
        return bytes([0xC0 | number >> 6, 0x80 | number & 0x3F])
    return bytes([0xE0 | number >> 12 & 0x0F, 0x80 | number >> 6 & 0x3F, 0x80 | number & 0x3F])


def _mp3(seconds: float) -> bytes:
    frame = b"\xff\xfb\x90\xc4" + bytes(_MP3_BYTES - 4)
    return frame * max(-(-round(seconds * 44_100) // _MP3_SAMPLES), 1)


def _opus(seconds: float, channels: int) -> bytes:
    head = b"OpusHead\x01" + struct.pack("<BHIHB", channels, _PRE_SKIP, _OPUS_RATE, 0, 0)
    tags = b"OpusTags" + struct.pack("<I", 9) + b"ComfySoak" + struct.pack("<I", 0)
    samples = round(seconds * _OPUS_RATE) + _PRE_SKIP
    packets = max(-(-samples // _OPUS_SAMPLES), 1)
    pages = [_page(0, _FIRST, 0, [head]), _page(1, 0, 0, [tags])]
    for first in range(0, packets, _PACKETS_A_PAGE):
        count = min(_PACKETS_A_PAGE, packets - first)
        end = min((first + count) * _OPUS_SAMPLES, samples)
        last = first + count == packets
        pages.append(_page(len(pages), _LAST if last else 0, end, [_SILENT_PACKET] * count))
    return b"".join(pages)


def _page(number: int, flags: int, position: int, packets: list[bytes]) -> bytes:
    sizes = bytes(len(packet) for packet in packets)
    head = b"OggS\0" + struct.pack("<BQII", flags, position, _STREAM, number)
    page = head + bytes(4) + bytes([len(sizes)]) + sizes + b"".join(packets)
    return head + struct.pack("<I", crc32(page)) + page[len(head) + 4 :]

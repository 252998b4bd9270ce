"""The proof that a PNG is whole says yes only where a decoder would, and to what models save it does say yes."""

from __future__ import annotations

import io
import os
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from comfysoak_core.outputs.png import plain_png

MODES = st.sampled_from(["RGB", "RGBA", "L", "LA"])


def saved(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.frombytes(mode, (width, height), os.urandom(width * height * len(Image.new(mode, (1, 1)).getbands())))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(width: int, height: int, rows: bytes) -> bytes:
    """A grey picture of these rows, filter bytes included."""
    head = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + packed + chunk(b"IEND", b"")


@given(MODES, st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_what_pillow_saves_is_proven_whole(mode: str, width: int, height: int, level: int) -> None:
    """Every plain mode, size and compression, with a comment beside it as ComfyUI writes its workflow."""
    facts = PngImagePlugin.PngInfo()
    facts.add_text("prompt", '{"1": {}}')
    plain = plain_png(saved(noise(width, height, mode), compress_level=level, pnginfo=facts))
    assert plain is not None
    assert (plain.width, plain.height) == (width, height)
    assert plain.proven()


def test_sixteen_bits() -> None:
    """Two bytes a channel are counted."""
    plain = plain_png(saved(Image.new("I;16", (5, 3), 700)))
    assert plain is not None
    assert plain.proven()


@settings(max_examples=300)
@given(st.data())
def test_no_damage_is_proven_whole(data: st.DataObject) -> None:
    """One byte changed, left out or added anywhere: there is no proof."""
    whole = saved(noise(9, 7))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = data.draw(
        st.sampled_from([
            whole[:at],
            whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :],
            whole[:at] + whole[at + 1 :],
            whole + b"\0",
        ])
    )  # fmt: skip
    plain = plain_png(damaged)
    assert plain is None or not plain.proven()


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(rest: bytes) -> None:
    """Whatever follows a right head, there is no exception, and no proof."""
    plain = plain_png(saved(noise(4, 4))[:33] + rest)
    assert plain is not None
    assert not plain.proven()


@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_one_colour_is_never_proven_varied(mode: str, level: int) -> None:
    """Black pictures fail however they were compressed; noise does not."""
    black = plain_png(saved(Image.new(mode, (32, 32)), compress_level=level))
    assert black is not None
    assert black.proven()
    assert not black.proven(varied=True)
    grey = plain_png(saved(Image.new(mode, (32, 32), 120 if mode == "L" else (120,) * len(mode)), compress_level=level))
    assert grey is not None
    assert not grey.proven(varied=True)
    many = plain_png(saved(noise(32, 32, mode), compress_level=level))
    assert many is not None
    assert many.proven(varied=True)


@pytest.mark.parametrize("kind", range(5))
def test_one_colour_under_each_filter(kind: int) -> None:
    """What an encoder leaves of a grey row with each of the five filters is what the proof takes it for."""
    first = b"\x00" + b"\x07" * 6
    later = {0: b"\x07" * 6, 1: b"\x07" + bytes(5), 2: bytes(6), 3: b"\x04" + bytes(5), 4: bytes(6)}[kind]
    data = filtered(6, 3, first + 2 * (bytes([kind]) + later))
    assert Image.open(io.BytesIO(data)).getextrema() == (7, 7)
    plain = plain_png(data)
    assert plain is not None
    assert plain.proven()
    assert not plain.proven(varied=True)


@pytest.mark.parametrize(
    "image",
    [Image.new("P", (8, 8)), Image.new("1", (8, 8))],
    ids=["palette", "one bit"],
)
def test_others_are_left_to_the_decoder(image: Image.Image) -> None:
    """Palettes and packed bits are no plain PNG."""
    assert plain_png(saved(image)) is None


def test_too_many_rows_too_few_and_an_unknown_filter() -> None:
    """The number of pixels follows from the head, and there are five filters."""
    row = b"\x00" + b"\x07" * 6
    for rows in (row * 2, row * 4, row * 2 + b"\x05" + b"\x07" * 6):
        plain = plain_png(filtered(6, 3, rows))
        assert plain is not None
        assert not plain.proven()


def test_an_animation_is_left_to_the_decoder() -> None:
    """Its further frames are no part of the proof."""
    frames = [noise(8, 8), noise(8, 8)]
    plain = plain_png(saved(frames[0], save_all=True, append_images=frames[1:]))
    assert plain is not None
    assert not plain.proven()

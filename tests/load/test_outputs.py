from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfysoak_load.outputs import MAX_PIXELS, Expected, problem_of

NOISE = Image.effect_noise((32, 24), 60).convert("RGB")
FLAT = Image.new("RGB", (32, 24), (10, 20, 30))


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_good_picture_of_any_format_has_no_problem(kind: str) -> None:
    """A picture that is what its name says passes, and its size is looked at."""
    assert problem_of(f"picture.{kind.lower()}", saved(NOISE, kind), Expected(32, 24)) is None


@pytest.mark.parametrize(
    ("name", "data", "expected", "problem"),
    [
        ("a.png", b"", Expected(), "empty file"),
        ("a.png", b"<html>not here</html>", Expected(), "not decodable"),
        ("a.png", saved(NOISE)[:-200], Expected(), "not decodable"),
        ("a.jpg", saved(NOISE), Expected(), "PNG under the name of JPEG"),
        ("a.png", saved(NOISE), Expected(64, 24), "32x24 instead of 64x24"),
        ("a.png", saved(FLAT), Expected(noise=True), "all of one colour"),
    ],
)
def test_what_is_wrong_is_named(name: str, data: bytes, expected: Expected, problem: str) -> None:
    """Each thing that can be wrong with a file has its words."""
    found = problem_of(name, data, expected)
    assert found is not None
    assert problem in found


def test_one_colour_is_what_an_empty_picture_is() -> None:
    """A workflow without a sampler may give pictures of one colour."""
    assert problem_of("a.png", saved(FLAT), Expected(32, 24)) is None
    assert problem_of("a.png", saved(NOISE), Expected(32, 24, noise=True)) is None


def test_other_files_are_only_asked_to_be_there() -> None:
    """Latents, sound and films are not decoded here."""
    assert problem_of("a.latent", b"anything") is None
    assert problem_of("a.mp4", b"") == "empty file"


def test_a_decompression_bomb_is_not_decoded() -> None:
    """A small file that says it is a huge picture is refused by its head, in no time and memory."""
    side = 30_000
    assert side * side > MAX_PIXELS
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0" * 1000)))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    problem = problem_of("a.png", bomb)
    assert problem is not None
    assert "pixels" in problem or "DecompressionBomb" in problem


@given(st.binary(max_size=100), st.integers(0, 600))
def test_any_bytes_are_survived(garbage: bytes, at: int) -> None:
    """A damaged picture is a problem or none, never an exception."""
    good = saved(NOISE)
    problem_of("a.png", good[:at] + garbage + good[at + len(garbage) :], Expected(noise=True))
    problem_of("a.webp", garbage)

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from comfysoak_core.outputs.check import problem_of, problem_of_text
from comfysoak_core.outputs.compare import difference
from comfysoak_core.outputs.expected import Expected
from comfysoak_core.outputs.kinds import OutputKind, kind_of
from comfysoak_core.outputs.pictures import MAX_PIXELS, decoded

NOISE = Image.effect_noise((32, 24), 60).convert("RGB")
FLAT = Image.new("RGB", (32, 24), (10, 20, 30))
SAVED = Path(__file__).parents[2] / "data" / "outputs"  # by real servers
NAMES = sorted(path.name for path in SAVED.iterdir() if path.suffix != ".md")
FRAMES = Expected(48, 32, 4, 125)

BEGINNINGS = (b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3", b"\xff\xfb\x90", b"RIFF0000WAVE", b"\0\0\0\x08moov")


def saved(image: Image.Image, kind: str = "PNG", frames: list[Image.Image] | None = None) -> bytes:
    buffer = io.BytesIO()
    if frames is None:
        image.save(buffer, kind)
    else:
        image.save(buffer, kind, save_all=True, append_images=frames, duration=100)
    return buffer.getvalue()


def latent(shape: list[int], values: bytes, kind: str = "F32") -> bytes:
    header = orjson.dumps({"latent_tensor": {"dtype": kind, "shape": shape, "data_offsets": [0, len(values)]}})
    return struct.pack("<Q", len(header)) + header + values


def wav(samples: bytes, told: int | None = None) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    length = len(samples) if told is None else told
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length) + samples


def glb(document: bytes, length: int | None = None) -> bytes:
    chunk = struct.pack("<I4s", len(document), b"JSON") + document
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunk) if length is None else length) + chunk


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_good_picture_of_any_format_has_no_problem(kind: str) -> None:
    """A picture that is what its name says passes, and its size is looked at."""
    assert problem_of(f"picture.{kind.lower()}", saved(NOISE, kind), Expected(32, 24)) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_real_servers_save_has_no_problem(name: str) -> None:
    """Whatever stock nodes save is right, and as long, large and many as the graph says."""
    data = (SAVED / name).read_bytes()
    expected = {
        "half": Expected(seconds=0.5),
        "two.": Expected(64, 32, batch=2),
    }.get(name[:4], FRAMES)
    assert problem_of(name, data, expected) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_off_is_seen(name: str) -> None:
    """Wherever the end of a file is missing, and however little of it, the file is told to be broken."""
    data = (SAVED / name).read_bytes()
    for part in (1, len(data) // 10, len(data) // 2, len(data) - 100, len(data) - 1):
        assert problem_of(name, data[:part]) is not None, part


@pytest.mark.parametrize(
    ("name", "data", "expected", "problem"),
    [
        ("a.png", b"", Expected(), "empty file"),
        ("a.png", b"<html>not here</html>", Expected(), "a web page under the name of PNG"),
        ("a.xyz", b"\n<!DOCTYPE html><p>502</p>", Expected(), "a web page under the name of XYZ"),
        ("a.png", b"rubbish", Expected(), "not decodable"),
        ("a.png", saved(NOISE)[:-200], Expected(), "cut off"),
        ("a.jpg", saved(NOISE), Expected(), "PNG under the name of JPEG"),
        ("a.png", saved(NOISE), Expected(64, 24), "32x24 instead of 64x24"),
        ("a.png", saved(FLAT), Expected(noise=True), "all of one colour"),
        ("a.webp", saved(NOISE, "WEBP"), Expected(frames=4, noise=True), "1 frame instead of 4"),
        ("a.webp", saved(NOISE, "WEBP", [FLAT]), Expected(frames=3, frame_ms=100), "2 frames instead of 3"),
        ("a.gif", saved(FLAT, "GIF", [Image.new("RGB", (32, 24))]), Expected(noise=True), "all of one colour"),
        ("v.webm", (SAVED / "vp9.webm").read_bytes(), Expected(frames=5), "4 frames instead of 5"),
        ("v.mp4", (SAVED / "h264.mp4").read_bytes(), Expected(64, 32), "48x32 instead of 64x32"),
        ("v.webm", (SAVED / "h264.mp4").read_bytes(), Expected(), "no WebM"),
        ("v.mp4", (SAVED / "vp9.webm").read_bytes(), Expected(), "no MP4"),
        ("s.flac", (SAVED / "half-second.flac").read_bytes(), Expected(seconds=2), "0.50 s instead of 2.00 s"),
        ("s.mp3", (SAVED / "half-second.mp3").read_bytes(), Expected(seconds=2), "s instead of 2.00 s"),
        ("s.wav", wav(bytes(16000)), Expected(noise=True), "nothing but silence"),
        ("s.wav", wav(b"\1\2" * 100, 4000), Expected(), "cut off"),
        ("s.wav", wav(b"\1\2" * 8000), Expected(seconds=2), "1.00 s instead of 2.00 s"),
        ("l.latent", (SAVED / "two.latent").read_bytes(), Expected(batch=1), "2 in a batch instead of 1"),
        ("l.latent", (SAVED / "two.latent").read_bytes(), Expected(640, 320), "none of 640x320 pixels"),
        ("l.latent", (SAVED / "two.latent").read_bytes(), Expected(noise=True), "nothing but zeros"),
        ("l.latent", latent([1, 1], struct.pack("<f", float("nan"))), Expected(), "NaN"),
        ("l.latent", latent([2], struct.pack("<ee", 1.0, float("-inf")), "F16"), Expected(), "NaN or infinite"),
        ("l.latent", latent([1, 2], struct.pack("<f", 1.0)), Expected(), "of shape 1x2 cannot lie in 4 bytes"),
        ("m.glb", glb(b'{"meshes":[]}'), Expected(), "without any mesh"),
        ("m.glb", glb(b'{"meshes":[1]}', 500), Expected(), "cut off"),
        ("t.txt", b" \n", Expected(), "empty text"),
        ("t.json", b"\xff\xfe", Expected(), "not UTF-8"),
    ],
)
def test_what_is_wrong_is_named(name: str, data: bytes, expected: Expected, problem: str) -> None:
    """Each thing that can be wrong with a file has its words."""
    found = problem_of(name, data, expected)
    assert found is not None
    assert problem in found


def test_a_film_of_thousands_of_tracks_is_not_counted() -> None:
    """Each would tell of 200,000 samples in 200 bytes: a quarter of a megabyte held us up for seconds."""
    film = box(b"moov", box(b"trak", b"") * 1000) + box(b"mdat", b"x")
    assert problem_of("v.mp4", film) == "an MP4 of more than 64 tracks"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.png", saved(FLAT), Expected(32, 24)),
        ("a.png", saved(NOISE), Expected(32, 24, noise=True)),
        ("a.webp", saved(NOISE, "WEBP", [NOISE, FLAT]), Expected(32, 24, 3, 100)),
        ("a.gif", saved(NOISE, "GIF", [FLAT]), Expected(noise=True)),
        ("l.latent", latent([1, 2], struct.pack("<ff", 1.0, -3e4)), Expected(noise=True)),
        ("l.latent", latent([2], struct.pack("<ee", 1.0, 65504.0), "F16"), Expected()),
        ("s.wav", wav(b"\1\2" * 8000), Expected(seconds=1, noise=True)),
        ("m.glb", glb(b'{"meshes":[{}]}'), Expected()),
        ("t.txt", "Grüße".encode(), Expected()),
        ("unknown.bin", b"anything", Expected(1, 1, 1)),
    ],
)
def test_what_is_right_passes(name: str, data: bytes, expected: Expected) -> None:
    """One colour is what an empty picture is, equal frames may become one, and what nobody knows is not judged."""
    assert problem_of(name, data, expected) is None


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


def test_the_work_of_decoding_is_handed_to_whoever_asks_for_it() -> None:
    """Before anything is decoded, the caller is told how many pixels will be held; of animations, three frames."""
    asked: list[int] = []

    def refuse(pixels: int, _work: object) -> str:
        asked.append(pixels)
        return "not now"

    assert problem_of("a.png", saved(NOISE), run=refuse) == "not now"
    assert problem_of("a.webp", saved(NOISE, "WEBP", [FLAT]), run=refuse) == "not now"
    assert asked == [32 * 24, 3 * 32 * 24]


def test_a_text_has_to_say_something() -> None:
    """A text of nothing but blanks is no text."""
    assert problem_of_text(" \t\n") == "empty text"
    assert problem_of_text("a cat") is None


@pytest.mark.parametrize(
    ("filename", "key", "animated", "kind"),
    [
        ("a_00001_.png", "images", False, OutputKind.IMAGES),
        ("a_00001_.webp", "images", True, OutputKind.ANIMATIONS),
        ("a_00001_.mp4", "images", True, OutputKind.VIDEO),
        ("a_00001_.gif", "gifs", False, OutputKind.ANIMATIONS),
        ("a_00001.flac", "audio", False, OutputKind.AUDIO),
        ("a_00001_.latent", "latents", False, OutputKind.LATENTS),
        ("a_00001_.glb", "3d", False, OutputKind.MODELS_3D),
        ("noextension", "audio", False, OutputKind.AUDIO),
        ("a.bin", "whatever", False, OutputKind.OTHER),
    ],
)
def test_the_kind_of_a_file(filename: str, key: str, animated: bool, kind: OutputKind) -> None:
    """The name decides; where it says nothing, the key it stands under."""
    assert kind_of(filename, key, animated=animated) is kind


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.binary(max_size=60), st.integers(0, 9000), st.booleans())
def test_any_bytes_get_a_verdict(name: str, garbage: bytes, at: int, cut: bool) -> None:
    """A damaged file is a problem or none, never an exception; so is anything under any name."""
    good = (SAVED / name).read_bytes()
    at %= len(good)
    problem_of(name, good[:at] + garbage + (b"" if cut else good[at + len(garbage) :]), Expected(1, 1, 1, 1, 1, 1))
    for other in ("a.wav", "a.glb", "a.mov", "a.ogg", "a.jpg", "a.txt", name):
        problem_of(other, garbage, Expected(noise=True))


@settings(deadline=None)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400))
def test_any_bytes_after_a_good_beginning_get_a_verdict(start: bytes, rest: bytes) -> None:
    """Readers that have been led on by the first bytes do not fail by the rest."""
    for name in ("a.flac", "a.ogg", "a.webm", "a.mp3", "a.wav", "a.mp4"):
        problem_of(name, start + rest)


def test_hostile_tables_take_no_time_and_no_memory() -> None:
    """Counts in a file that are larger than the file are not believed."""
    huge = b"\0\0\0\x14stsz\0\0\0\0\0\0\0\0\xff\xff\xff\xff"
    table = (
        struct.pack(">I4s", 8 + len(huge) + 24, b"stbl")
        + huge
        + b"\0\0\0\x18stsc"
        + bytes(4)
        + b"\xff\xff\xff\xff"
        + bytes(8)
    )
    for kind in (b"minf", b"mdia", b"trak", b"moov"):
        table = struct.pack(">I4s", 8 + len(table), kind) + table
    assert problem_of("v.mp4", table + b"\0\0\0\x08mdat") is not None
    assert problem_of("s.flac", b"fLaC\x80\0\0\x22" + bytes(34) + b"\xff\xf8" * 100_000) is not None


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


COUNT = 10_000
TABLES = box(b"stsz", bytes(8) + struct.pack(">I", COUNT) + b"\0\0\0\1" * COUNT) + box(
    b"stco", bytes(4) + struct.pack(">I", COUNT) + bytes(4 * COUNT)
)
ONE_A_CHUNK = box(b"stsc", bytes(4) + struct.pack(">4I", 1, 1, 1, 1))
LONG_FILM = box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", TABLES + ONE_A_CHUNK))))) + box(
    b"mdat", b"x"
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("v.mp4", LONG_FILM),
        ("v.webm", b"\x1a\x45\xdf\xa3\x80" + b"\xa3\x81\x81" * COUNT),
        ("s.mp3", (b"\xff\xfb\x10\xc4" + bytes(100)) * 2_000),
        ("s.ogg", (SAVED / "half-second.opus").read_bytes() * 500),
        ("l.latent", latent([1, 2**20], bytes(2**22))),
        ("s.wav", wav(bytes(2**22))),
        ("t.txt", b"a" * 2**22),
    ],
)
def test_large_files_take_little_memory_beside_their_own(name: str, data: bytes) -> None:
    """Readers go through a file, and do not copy it whole."""
    tracemalloc.start()
    try:
        problem_of(name, data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 24 * 2**20


def test_pictures_are_compared_pixel_by_pixel() -> None:
    """A pixel counts when one of its colours is further off than the tolerance."""
    other = FLAT.copy()
    other.putpixel((3, 4), (13, 20, 30))
    other.putpixel((5, 6), (10, 20, 250))
    assert difference(FLAT, other, 2).pixels == 2
    apart = difference(FLAT, other, 3)
    assert (apart.pixels, apart.of, apart.largest) == (1, 32 * 24, 220)
    assert apart.in_words() == "1 of 768 pixels (0.13%) differ, by up to 220 of 255 steps"
    assert difference(FLAT, FLAT, 0).pixels == 0
    assert decoded(saved(FLAT)).size == (32, 24)
    with pytest.raises(ValueError, match="not decodable"):
        decoded(b"no picture")

"""Pictures and animations: decoded, not only opened, as a truncated file opens well.

Nothing is decoded that would not fit in memory, and of an animation only one frame at a time.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from comfysoak_core.outputs.expected import Expected
from comfysoak_core.outputs.png import PlainPng, plain_png

MAX_PIXELS: Final = 64 * 1024 * 1024
MAX_FRAMES: Final = 5_000
MAX_FILM_PIXELS: Final = 1024 * 1024 * 1024  # of all frames together; what follows is not looked at
_END_OF_PNG: Final = b"IEND\xaeB`\x82"
_TRAILER: Final = 64 * 1024  # bytes that may follow the end of a PNG
FRAMES_HELD: Final = 3  # decoders of animations keep the frame, the one before, and what they put together

FORMATS: Final = {
    "png": ("PNG",),
    "apng": ("PNG",),
    "jpg": ("JPEG", "MPO"),
    "jpeg": ("JPEG", "MPO"),
    "webp": ("WEBP",),
    "gif": ("GIF",),
    "bmp": ("BMP",),
    "tif": ("TIFF",),
    "tiff": ("TIFF",),
    "avif": ("AVIF",),
}
BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    AttributeError,
    AssertionError,
    Image.DecompressionBombError,
)

Work = Callable[[], str | None]
Run = Callable[[int, Work], str | None]  # does work that holds so many pixels in memory


def at_once(pixels: int, work: Work) -> str | None:  # noqa: ARG001  # a `Run`
    """Do the work here and now."""
    return work()


def problem_of_picture(extension: str, data: bytes, expected: Expected, run: Run = at_once) -> str | None:
    """Why `data` is no picture or animation of this extension as expected; None when it is.

    `run` does the decoding, and may wait for memory or use another thread.
    """
    plain = plain_png(data) if extension == "png" else None
    if plain is None or not _is_as_expected(plain, expected):
        return _problem_by_decoder(extension, data, expected, run)

    def work() -> str | None:
        proven = plain.proven(varied=expected.noise)
        return None if proven else _problem_by_decoder(extension, data, expected, at_once)

    return run(plain.width * plain.height, work)


def _is_as_expected(plain: PlainPng, expected: Expected) -> bool:
    """Whether its head leaves nothing to complain about."""
    fits = expected.wrong_size(plain.width, plain.height) is None and plain.width * plain.height <= MAX_PIXELS
    return fits and (expected.frames or 1) == 1


def _problem_by_decoder(extension: str, data: bytes, expected: Expected, run: Run) -> str | None:
    formats = FORMATS[extension]
    try:
        with _quiet():
            image = Image.open(io.BytesIO(data), formats=_decoders())
    except BROKEN as error:
        return _undecodable(error)
    with image:
        found = _wrong_head(image, formats, expected) or _no_end(image.format, data)
        if found is not None:
            return found
        moves = bool(getattr(image, "is_animated", False))
        work = functools.partial(_wrong_frames if moves else _wrong_pixels, image, expected)
        return run(image.width * image.height * (FRAMES_HELD if moves else 1), work)


def decoded(data: bytes) -> Image.Image:
    """The (first) picture in `data` as RGB; ValueError when there is none that can be decoded."""
    try:
        with _quiet(), Image.open(io.BytesIO(data), formats=_decoders()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} is too large")
            return image.convert("RGB")
    except BROKEN as error:
        raise ValueError(_undecodable(error)) from None


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(action="ignore"):
        yield


@functools.cache
def _decoders() -> tuple[str, ...]:
    """The formats above that this Pillow can read; others, of the many it knows, are never tried."""
    Image.init()
    return tuple(sorted({name for names in FORMATS.values() for name in names} & set(Image.OPEN)))


def _wrong_head(image: Image.Image, formats: tuple[str, ...], expected: Expected) -> str | None:
    """What is wrong as far as the head of the file tells."""
    if image.format not in formats:
        return f"{image.format} under the name of {formats[0]}"
    if image.width * image.height > MAX_PIXELS:
        return f"{image.width}x{image.height} is more than the {MAX_PIXELS} pixels that are decoded"
    return expected.wrong_size(image.width, image.height)


def _no_end(kind: str | None, data: bytes) -> str | None:
    """Decoders do not miss the end of a PNG; whoever wrote it and was cut off did not get there."""
    return "cut off: it has no end" if kind == "PNG" and data.find(_END_OF_PNG, -_TRAILER) < 0 else None


def _wrong_pixels(image: Image.Image, expected: Expected) -> str | None:
    try:
        image.load()
        if expected.noise and _one_colour(image):
            return "all of one colour"
    except BROKEN as error:
        return _undecodable(error)
    if expected.noise and (expected.frames or 1) > 1:
        return f"1 frame instead of {expected.frames}"  # without noise, equal frames may have become one
    return None


def _wrong_frames(image: Image.Image, expected: Expected) -> str | None:
    """Decode frame by frame."""
    frames, lasts_ms, flat = 0, 0.0, True
    most = min(MAX_FRAMES, max(MAX_FILM_PIXELS // (image.width * image.height), 1))
    try:
        while True:
            image.load()
            frames, lasts_ms = frames + 1, lasts_ms + float(image.info.get("duration") or 0)
            flat = flat and expected.noise and _one_colour(image)
            if frames == most:
                return None
            try:
                image.seek(frames)
            except EOFError:
                break
    except BROKEN as error:
        return f"frame {frames + 1}: {_undecodable(error)}"
    told = getattr(image, "n_frames", frames)
    if frames < told:
        return f"{frames} frames instead of the {told} it says it has"
    if expected.noise and flat:
        return "all of one colour"
    return _wrong_count(frames, lasts_ms, expected)


def _wrong_count(frames: int, lasts_ms: float, expected: Expected) -> str | None:
    """Equal frames after one another are saved as one that lasts longer: then the whole has to last as long."""
    if expected.frames is None or frames == expected.frames:
        return None
    if frames < expected.frames and expected.frame_ms is not None:
        whole_ms = expected.frames * expected.frame_ms
        if abs(lasts_ms - whole_ms) <= expected.frames:  # each is rounded to a millisecond
            return None
    return f"{frames} frames instead of {expected.frames}"


def _one_colour(image: Image.Image) -> bool:
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(band[0] == band[1] for band in bands if isinstance(band, tuple))


def _undecodable(error: BaseException) -> str:
    return f"not decodable: {type(error).__name__}"

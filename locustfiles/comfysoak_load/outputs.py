"""Is this file what was asked for? A 200 is not a picture.

Images are decoded, not only opened: a truncated file opens well. What a file should be is known from its name and from
what the workflow says; where neither says anything, nothing is claimed. Large pictures are decoded outside the event
loop's thread (Pillow lets go of the interpreter lock meanwhile), and nothing is decoded that would not fit in memory.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from PIL import Image

MAX_PIXELS: Final = 64 * 1024 * 1024
INLINE_PIXELS: Final = 256 * 256  # decoded in under a millisecond: handing it to another thread costs half of that

_FORMATS: Final = {
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
_BROKEN: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a picture must be. None: not known, so not checked. `noise`: one colour all over would be a failure."""

    width: int | None = None
    height: int | None = None
    noise: bool = False


ANYTHING: Final = Expected()


def problem_of(filename: str, data: bytes, expected: Expected = ANYTHING, *, pooled: bool = True) -> str | None:
    """Why `data` is not what a file of this name should be; None when it is.

    With `pooled`, large pictures are decoded in gevent's thread pool, while other greenlets run.
    """
    if not data:
        return "empty file"
    formats = _FORMATS.get(filename.rpartition(".")[2].lower())
    if formats is None:
        return None  # latents, audio, video, text: that something came is all that can be said here
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data), formats=_decoders())
    except (*_BROKEN, Image.DecompressionBombError) as error:
        return _undecodable(error)
    with image:
        found = _wrong_frame(image, formats, expected)
        if found is not None:
            return found
        if pooled and image.width * image.height > INLINE_PIXELS:
            return _in_another_thread(_wrong_pixels, image, expected)
        return _wrong_pixels(image, expected)


@functools.cache
def _decoders() -> tuple[str, ...]:
    """The formats above that this Pillow can read; others, of the many it knows, are never tried."""
    Image.init()
    return tuple(sorted({name for names in _FORMATS.values() for name in names} & set(Image.OPEN)))


def _wrong_frame(image: Image.Image, formats: tuple[str, ...], expected: Expected) -> str | None:
    """What is wrong as far as the head of the file tells."""
    if image.format not in formats:
        return f"{image.format} under the name of {formats[0]}"
    if image.width * image.height > MAX_PIXELS:
        return f"{image.width}x{image.height} is more than the {MAX_PIXELS} pixels that are decoded"
    if (expected.width or image.width, expected.height or image.height) != (image.width, image.height):
        return f"{image.width}x{image.height} instead of {expected.width}x{expected.height}"
    return None


def _wrong_pixels(image: Image.Image, expected: Expected) -> str | None:
    try:
        image.load()
        if expected.noise and _one_colour(image):
            return "all of one colour"
    except _BROKEN as error:
        return _undecodable(error)
    return None


def _one_colour(image: Image.Image) -> bool:
    extrema = image.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(band[0] == band[1] for band in bands if isinstance(band, tuple))


def _undecodable(error: BaseException) -> str:
    return f"not decodable: {type(error).__name__}"


def _in_another_thread(
    work: Callable[[Image.Image, Expected], str | None], image: Image.Image, expected: Expected
) -> str | None:
    import gevent

    problem: str | None = gevent.get_hub().threadpool.apply(work, (image, expected))
    return problem

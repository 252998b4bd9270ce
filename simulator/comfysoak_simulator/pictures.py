"""Pictures as files: real PNG, JPEG or WebP of the right size, whose pixels follow from what the prompt says."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from io import BytesIO
from random import Random
from typing import Literal

from PIL import Image, ImageChops, ImageOps, PngImagePlugin

from comfysoak_simulator.values import Picture

Format = Literal["PNG", "JPEG", "WEBP"]
_GRID = 8  # a drawn picture is a grid of this many colours a side, enlarged
_SEED_BYTES = 64


def draw(picture: Picture, width: int, height: int) -> Image.Image:
    """The picture in this size, RGB."""
    if picture.kind == "noise":  # each pixel its own: no file format makes it smaller
        image = Image.frombytes("RGB", (width, height), Random(picture.source).randbytes(width * height * 3))
    else:
        image = _sized(_source(picture), width, height)
    return ImageChops.invert(image) if picture.inverted else image


def encode(image: Image.Image, kind: Format, *, texts: dict[str, str] | None = None, quality: int = 95) -> bytes:
    """The image as a file; `texts` go into a PNG as ComfyUI writes the prompt there."""
    buffer = BytesIO()
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        for key, text in (texts or {}).items():
            info.add_text(key, text)
        image.save(buffer, "PNG", pnginfo=info, compress_level=1)
    else:
        image.save(buffer, kind, quality=quality)
    return buffer.getvalue()


@lru_cache(maxsize=8)
def png(picture: Picture, width: int, height: int) -> bytes:
    """The picture as a PNG with nothing else in it; a batch often holds the same one many times."""
    return encode(draw(picture, width, height), "PNG")


def size_of(file: bytes) -> tuple[int, int]:
    """Width and height of an image file; raises OSError for bytes that are none."""
    with Image.open(BytesIO(file)) as image:
        return image.size


def preview(digest: bytes, width: int, height: int, longest: int, share: float) -> bytes:
    """A JPEG as a sampler shows between steps: the picture to come, the dimmer the earlier (`share` 0 to 1)."""
    scale = min(1.0, longest / max(width, height, 1))
    image = draw(Picture("drawn", digest), max(round(width * scale), 1), max(round(height * scale), 1))
    fog = Image.new("RGB", image.size, (128, 128, 128))
    return encode(Image.blend(fog, image, max(share, 0.1)), "JPEG")


def flipped(file: bytes, pixels: int) -> bytes:
    """A PNG with so many pixels changed, always the same ones for the same file."""
    with Image.open(BytesIO(file)) as opened:
        image = opened.convert("RGB")
        texts = {str(key): str(value) for key, value in opened.info.items() if isinstance(value, str)}
    for index in range(min(pixels, image.width * image.height)):
        digest = blake2b(index.to_bytes(8, "big"), digest_size=8).digest()
        place = (int.from_bytes(digest[:4], "big") % image.width, int.from_bytes(digest[4:], "big") % image.height)
        red, green, blue = image.getpixel(place)  # type: ignore[misc]  # an RGB image has three
        image.putpixel(place, (red ^ 0xFF, green ^ 0x80, blue ^ 0xFF))
    return encode(image, "PNG", texts=texts)


def _source(picture: Picture) -> Image.Image:
    if picture.kind == "colour":
        return Image.new("RGB", (1, 1), (picture.source[0], picture.source[1], picture.source[2]))
    if picture.kind == "file":
        with Image.open(BytesIO(picture.source)) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    return Image.frombytes("RGB", (_GRID, _GRID), _noise(picture.source))


def _noise(digest: bytes) -> bytes:
    wanted = _GRID * _GRID * 3
    blocks = range(wanted // _SEED_BYTES)
    return b"".join(blake2b(digest, digest_size=_SEED_BYTES, salt=bytes([block])).digest() for block in blocks)


def _sized(image: Image.Image, width: int, height: int) -> Image.Image:
    if image.size == (width, height):
        return image
    if image.size == (1, 1):
        return Image.new("RGB", (width, height), image.getpixel((0, 0)))
    return image.resize((width, height), Image.Resampling.BILINEAR)

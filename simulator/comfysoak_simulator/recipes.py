"""Files not yet made: what each will hold, and how a fault has spoiled it. They are made when somebody asks."""

from __future__ import annotations

import math
import struct
from array import array
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any

import orjson

from comfysoak_simulator import films, pictures, sounds
from comfysoak_simulator.values import Picture

Json = Any
_BLOCK = 4096  # numbers of a latent that are drawn; larger ones repeat them


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`spoiled` is the wrong-output fault's word for how the file is wrong; "" when it is not."""

    spoiled: str = ""
    flipped_pixels: int = 0

    def file(self) -> bytes:
        """The bytes."""
        content = self.content()
        match self.spoiled:
            case "truncated":
                return content[: len(content) // 2]
            case "empty":
                return b""
            case "text":
                return b"<html><body>502 Bad Gateway</body></html>"
            case _:
                return content

    def content(self) -> bytes:
        """The bytes before they are cut off or replaced."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Still(Recipe):
    """One picture as a PNG, with what ComfyUI writes into it."""

    picture: Picture
    width: int
    height: int
    prompt: dict[str, Json] | None = None
    extra_pnginfo: dict[str, Json] | None = None

    def content(self) -> bytes:
        """Black, half the size or with other pixels, where it is spoiled so."""
        width, height = _size(self.width, self.height, self.spoiled)
        picture = _BLACK if self.spoiled == "black" else self.picture
        file = pictures.encode(pictures.draw(picture, width, height), "PNG", texts=self._texts())
        return pictures.flipped(file, self.flipped_pixels) if self.flipped_pixels else file

    def _texts(self) -> dict[str, str]:
        texts: dict[str, Json] = {**(self.extra_pnginfo or {})}
        if self.prompt is not None:
            texts["prompt"] = self.prompt
        return {str(key): orjson.dumps(value, default=repr).decode() for key, value in texts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Film(Recipe):
    """Pictures in one file."""

    form: films.Form
    pictures: tuple[Picture, ...]
    width: int
    height: int
    fps: float

    def content(self) -> bytes:
        """All frames black, or half the size, where it is spoiled so."""
        width, height = _size(self.width, self.height, self.spoiled)
        shown = [_BLACK] if self.spoiled == "black" else self.pictures
        return films.film(self.form, [pictures.draw(picture, width, height) for picture in shown], self.fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound(Recipe):
    """A silent sound."""

    codec: sounds.Codec
    seconds: float
    rate: int
    channels: int

    def content(self) -> bytes:
        """Half as long, where it is spoiled by size."""
        seconds = self.seconds / 2 if self.spoiled == "size" else self.seconds
        return sounds.silence(self.codec, seconds, self.rate, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor(Recipe):
    """A latent, as SaveLatent writes it; of zeros without a digest."""

    digest: bytes
    shape: tuple[int, ...]

    def content(self) -> bytes:
        """What is no number in the place of black, half the height where the size is spoiled."""
        *outer, height, width = self.shape
        shape = (*outer, max(height // 2, 1) if self.spoiled == "size" else height, width)
        count = math.prod(shape)
        numbers = struct.pack("<f", math.nan) * count if self.spoiled == "black" else _numbers(self.digest, count)
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(numbers)]}
        version = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
        header = orjson.dumps({"latent_format_version_0": version, "latent_tensor": entry})
        header += b" " * (-len(header) % 8)
        return struct.pack("<Q", len(header)) + header + numbers


_BLACK = Picture("colour", bytes(3))


def _size(width: int, height: int, spoiled: str) -> tuple[int, int]:
    return (max(width // 2, 1), max(height // 2, 1)) if spoiled == "size" else (width, height)


def _numbers(digest: bytes, count: int) -> bytes:
    if not digest:
        return bytes(4 * count)
    random = Random(blake2b(digest, digest_size=16).hexdigest())
    block = array("f", (random.gauss(0, 1) for _ in range(min(count, _BLOCK)))).tobytes()
    return (block * -(-count // _BLOCK))[: 4 * count]

"""What flows along the links of a simulated graph: sizes and identities in place of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from comfysoak_simulator.models import Model


@dataclass(frozen=True, slots=True)
class Picture:
    """Where the pixels of one image come from: a colour, a digest that drawing or noise follows, a file's bytes."""

    kind: Literal["colour", "drawn", "noise", "file"]
    source: bytes
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Images:
    """A batch of images of one size."""

    width: int
    height: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Latent:
    """A batch of latents of one size, in pixels of the image they stand for."""

    width: int
    height: int
    batch: int
    digest: bytes  # empty: nothing but zeros
    channels: int = 4


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound, all of it silent."""

    seconds: float
    rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Video:
    """Images, and how many of them a second."""

    images: Images
    fps: float


@dataclass(frozen=True, slots=True)
class Token:
    """Anything else (conditioning, a guider, noise, ...): its type, what it depends on, the models it carries."""

    kind: str
    digest: bytes
    models: tuple[Model, ...] = field(default=())
    steps: int | None = None


Value = Images | Latent | Audio | Video | Model | Token | int | float | str | bool | None


def pixels(value: Value) -> int:
    """Width x height x batch of an image or latent; 0 for anything else."""
    match value:
        case Images():
            return value.width * value.height * len(value.pictures)
        case Latent():
            return value.width * value.height * value.batch
        case _:
            return 0

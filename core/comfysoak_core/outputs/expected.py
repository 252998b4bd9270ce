"""What a file must be, as far as somebody knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Expected:
    """None: not known, so not checked. `noise`: it comes of a sampler, so nothing in it at all would be a failure.

    `frames` are those handed to the saver of an animation or a film, `frame_ms` how long each is shown; `seconds` is
    the length of a sound; `batch` the number of latents in one file, whose `width` and `height` are those of the
    pictures they stand for.
    """

    width: int | None = None
    height: int | None = None
    frames: int | None = None
    frame_ms: float | None = None
    seconds: float | None = None
    batch: int | None = None
    noise: bool = False

    def wrong_size(self, width: int, height: int) -> str | None:
        """Why something of so many pixels is not what it must be; None when it is."""
        if (self.width or width, self.height or height) == (width, height):
            return None
        return f"{width}x{height} instead of {self.width}x{self.height}"


ANYTHING: Final = Expected()

"""What the readers of sound and film have in common: what they find out, and how they say that a file is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_UNITS: Final = 200_000  # boxes, pages, frames or samples that are looked at, so that no file takes long


class BrokenError(ValueError):
    """A file that is not what its name says; the text says why, in words for a report."""


@dataclass(frozen=True, slots=True)
class Media:
    """What the structure of a sound or film tells; None: it does not."""

    seconds: float | None = None
    frames: int | None = None  # of the picture
    width: int | None = None
    height: int | None = None
    silent: bool | None = None


def cut_off(where: str, end: int, size: int) -> BrokenError:
    """The error for a file that ends before `where` does, which should go to byte `end`."""
    return BrokenError(f"cut off: {where} goes to byte {end:,} of {size:,}")

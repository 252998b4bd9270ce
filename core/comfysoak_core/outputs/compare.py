"""How far two pictures that should be equal differ."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops


@dataclass(frozen=True, slots=True)
class Difference:
    """`pixels` of `of` differ by more than the tolerance, in at least one colour; `largest` is in 8-bit steps."""

    pixels: int
    of: int
    largest: int

    @property
    def share(self) -> float:
        """The share of all pixels."""
        return self.pixels / self.of

    def in_words(self) -> str:
        """How many pixels differ, and by how much."""
        return f"{self.pixels:,} of {self.of:,} pixels ({self.share:.2%}) differ, by up to {self.largest} of 255 steps"


def difference(first: Image.Image, second: Image.Image, tolerance: int) -> Difference:
    """How far two RGB pictures of one size differ; a pixel counts when a colour differs by more than `tolerance`."""
    apart = ImageChops.difference(first, second)
    red, green, blue = apart.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()
    steps = [step for step, count in enumerate(largest) if count]
    return Difference(sum(largest[tolerance + 1 :]), first.width * first.height, max(steps))

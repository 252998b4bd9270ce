"""The pictures one server has to give again and again: each is compared with the first, or with one known before."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from PIL import Image

from comfysoak_core.codes import Code
from comfysoak_core.outputs.compare import difference
from comfysoak_core.outputs.kinds import extension_of
from comfysoak_core.outputs.pictures import FORMATS, decoded

MOST_PLACES: Final = 16  # pictures of one prompt that are compared


@dataclass(frozen=True, slots=True)
class Differs:
    """A picture that is not what it was, with both as PNG files."""

    place: str
    code: Code
    problem: str
    baseline_png: bytes
    found_png: bytes


class Golden:
    """`known` are pictures of earlier times by place ("" is any place); what is not known is taken as it comes."""

    def __init__(self, tolerance: int, differing: float, known: Mapping[str, bytes]) -> None:
        self._tolerance = tolerance
        self._differing = differing
        self._known = dict(known)

    def compare(self, place: str, filename: str, data: bytes, keep: Callable[[str, bytes], None]) -> Differs | None:
        """Compare the picture of one place of the graph, which is known to be a good file.

        None: it is what it was, or no picture. A first one becomes the baseline, and is given to `keep` as a PNG.
        """
        if extension_of(filename) not in FORMATS:
            return None
        try:
            found = decoded(data)
        except ValueError as error:
            return Differs(place, Code.OUTPUT_WRONG, str(error), self._baseline(place) or b"", b"")
        baseline = self._baseline(place)
        if baseline is None:
            if len(self._known) < MOST_PLACES:
                self._known[place] = _png(found)
                keep(place, self._known[place])
            return None
        return self._differs(place, baseline, found)

    def _baseline(self, place: str) -> bytes | None:
        return self._known.get(place) or self._known.get("")

    def _differs(self, place: str, baseline: bytes, found: Image.Image) -> Differs | None:
        first = decoded(baseline)
        if first.size != found.size:
            words = f"{found.width}x{found.height}, and its baseline is {first.width}x{first.height}"
            return Differs(place, Code.OUTPUT_WRONG, words, baseline, _png(found))
        apart = difference(first, found, self._tolerance)
        if apart.pixels <= self._differing * apart.of:
            return None
        return Differs(place, Code.OUTPUT_CORRUPT, apart.in_words(), baseline, _png(found))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

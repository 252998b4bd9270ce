from __future__ import annotations

import io

from PIL import Image

from comfysoak_core.codes import Code
from comfysoak_core.outputs.golden import MOST_PLACES, Golden

PLAIN = Image.new("RGB", (16, 8), (100, 100, 100))


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def changed(pixels: int, by: int) -> Image.Image:
    image = PLAIN.copy()
    for index in range(pixels):
        image.putpixel((index % 16, index // 16), (100 + by, 100, 100))
    return image


class Kept(dict[str, bytes]):
    """What was given to be kept."""

    def __call__(self, place: str, png: bytes) -> None:
        self[place] = png


def test_the_first_picture_is_the_baseline_of_its_place() -> None:
    """Each place of the graph has a baseline of its own, kept once."""
    golden, kept = Golden(0, 0.0, {}), Kept()
    assert golden.compare("6-1", "a.png", saved(PLAIN), kept) is None
    assert golden.compare("6-2", "b.png", saved(changed(3, 50)), kept) is None
    assert golden.compare("6-1", "c.webp", saved(PLAIN), kept) is None
    assert sorted(kept) == ["6-1", "6-2"]
    differs = golden.compare("6-1", "d.png", saved(changed(3, 50)), kept)
    assert differs is not None
    assert differs.code is Code.OUTPUT_CORRUPT
    assert differs.problem == "3 of 128 pixels (2.34%) differ, by up to 50 of 255 steps"
    assert (differs.baseline_png, sorted(kept)) == (kept["6-1"], ["6-1", "6-2"])


def test_tolerance_is_in_steps_and_in_a_share_of_pixels() -> None:
    """What a GPU computes a little differently is no corruption, if the scenario says so."""
    for tolerance, differing, pixels, by, told in (
        (2, 0.0, 128, 2, False),
        (2, 0.0, 1, 3, True),
        (2, 0.01, 1, 200, False),
        (2, 0.01, 2, 3, True),
        (0, 0.0, 1, 1, True),
    ):
        golden = Golden(tolerance, differing, {})
        golden.compare("1", "a.png", saved(PLAIN), Kept())
        found = golden.compare("1", "a.png", saved(changed(pixels, by)), Kept())
        assert (found is not None) is told, (tolerance, differing, pixels, by)


def test_a_known_picture_stands_for_any_place_or_for_one() -> None:
    """A baseline of an earlier run is compared with from the first picture on, and nothing else becomes one."""
    kept = Kept()
    golden = Golden(0, 0.0, {"": saved(PLAIN)})
    assert golden.compare("6-1", "a.png", saved(PLAIN), kept) is None
    assert golden.compare("6-1", "a.png", saved(changed(1, 1)), kept) is not None
    assert not kept
    golden = Golden(0, 0.0, {"7-1": saved(PLAIN)})
    assert golden.compare("6-1", "a.png", saved(changed(1, 1)), kept) is None
    assert golden.compare("7-1", "a.png", saved(changed(1, 1)), kept) is not None


def test_another_size_is_a_wrong_output_and_other_files_are_none_of_it() -> None:
    """A picture of another size cannot be compared by its pixels; films and latents are not compared at all."""
    golden = Golden(2, 0.0, {"": saved(PLAIN)})
    differs = golden.compare("1", "a.png", saved(PLAIN.resize((8, 8))), Kept())
    assert differs is not None
    assert (differs.code, differs.problem) == (Code.OUTPUT_WRONG, "8x8, and its baseline is 16x8")
    assert golden.compare("1", "a.latent", b"anything", Kept()) is None
    broken = golden.compare("1", "a.png", b"rubbish", Kept())
    assert broken is not None
    assert broken.code is Code.OUTPUT_WRONG


def test_a_canary_of_a_thousand_pictures_keeps_a_few() -> None:
    """What is held of baselines is bounded."""
    golden, kept = Golden(2, 0.0, {}), Kept()
    for place in range(1000):
        assert golden.compare(str(place), "a.png", saved(PLAIN), kept) is None
    assert len(kept) == MOST_PLACES

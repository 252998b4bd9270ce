"""The page shows saturation as a picture for all, the detected warm-up, and what goes with what."""

from __future__ import annotations

from pathlib import Path

from comfysoak_analysis.report import build
from tests.analysis.planted import plant
from tests.analysis.served import Stretch, served
from tests.analysis.test_correlation import MOMENTS
from tests.analysis.test_saturation import USERS, step


def page(directory: Path) -> str:
    """The report of a recording."""
    build(directory)
    return (directory / "report.html").read_text(encoding="utf-8")


def test_saturation_is_a_picture_with_words_for_who_cannot_see_it(directory: Path) -> None:
    """Two panels with title and description, the sentence above, the steps below."""
    text = page(served(directory, [step(users) for users in USERS]))
    assert "The knee lies at" in text
    assert text.count('<svg viewBox="0 0 520.0 230.0" role="img"') == 2
    assert '<desc id="saturation-1-words">Throughput over load: 1 user: ' in text


def test_a_detected_warm_up_is_named_in_the_charts_and_said(directory: Path) -> None:
    """Like a phase, and as a sentence."""
    text = page(served(directory, [Stretch(60, 4, 2, 2.0), Stretch(440, 4, 3, 1.3)]))
    assert "warm-up (detected)" in text
    assert "this warm-up is in no figure" in text


def test_statements_stand_below_the_failures(directory: Path) -> None:
    """With effect, interval, cases and words."""
    text = page(plant(directory, duration_s=600, workflows=("sketch-sd15",), oom_at_s=MOMENTS))
    assert "What goes with what" in text
    assert "9 of 9 failures came while VRAM was over 95 % or within 2 s after" in text

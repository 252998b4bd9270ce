"""The golden canary in the report: what became of it on each server, and the pictures that were not what they were."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image, ImageChops, ImageFilter

from comfysoak_analysis.findings.evidence import counted
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_core.codes import Code
from comfysoak_core.outputs.pictures import decoded
from comfysoak_core.recording.layout import Layout
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.golden import BASELINE
from comfysoak_core.scenario.quantities import format_duration

SHOWN = 2  # pictures that differed, each with its baseline
LONGEST_SIDE = 256
MOST_FILE_BYTES = 64 * 1024 * 1024
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CORRUPT = (Code.OUTPUT_CORRUPT.value, Code.OUTPUT_WRONG.value, Code.OUTPUT_MISSING.value)


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the page, as a data URI."""

    label: str
    uri: str


def pictures_of(run: Run, finding: Finding) -> tuple[Shown, ...]:
    """The first pictures of a finding that differ: baseline, what came, and where; none for most findings."""
    if finding.code not in (Code.OUTPUT_CORRUPT, Code.OUTPUT_WRONG):
        return ()
    folder = Layout(run.path).canary
    found = (
        path for name in finding.examples if _ID.fullmatch(name) for path in sorted(folder.glob(f"*/{name}-*.png"))
    )
    return tuple(shown for path, _ in zip(found, range(SHOWN), strict=False) for shown in _shown(path))


def _shown(path: Path) -> Iterator[Shown]:
    place = path.stem[37:]  # after the id of the prompt and a hyphen
    came, baseline = _read(path), _read(path.parent / f"{BASELINE}{place}.png")
    if baseline is not None:
        yield Shown(f"{path.parent.name}: before", _uri(baseline))
    if came is not None:
        yield Shown("now", _uri(came))
    if came is not None and baseline is not None and came.size == baseline.size:
        yield Shown("where they differ", _uri(_apart(came, baseline)))


def _apart(came: Image.Image, baseline: Image.Image) -> Image.Image:
    """White where they differ, and around it, so that a single pixel is seen in a small picture."""
    red, green, blue = ImageChops.difference(came, baseline).split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue).point([0, *[255] * 255])
    spread = max(came.size) // LONGEST_SIDE * 2 + 3
    return largest.filter(ImageFilter.MaxFilter(spread)).resize(_small(came.size), Image.Resampling.NEAREST)


def _small(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(LONGEST_SIDE / max(size), 1.0)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _read(path: Path) -> Image.Image | None:
    try:
        return decoded(path.read_bytes()) if path.stat().st_size <= MOST_FILE_BYTES else None
    except (OSError, ValueError):
        return None


def _uri(image: Image.Image) -> str:
    """Small, and drawn anew: nothing of a file that came from elsewhere gets into the page but its pixels."""
    buffer = io.BytesIO()
    image.resize(_small(image.size)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def canaries_in_words(run: Run) -> Iterator[tuple[str, str]]:
    """For each server, how many canaries were compared, and what became of the others."""
    for server, rows in run.canaries.groupby("server", sort=True):
        was_compared = rows["outputs_ok"].notna() & rows["work"]
        compared = rows[was_compared]
        bad = int(compared["code"].isin(_CORRUPT).sum())
        words = f"{counted(len(compared), 'picture')} looked at, {f'{bad:,} not right' if bad else 'all as they were'}"
        yield f"Canary of {server}", ", ".join([words, *_others(rows[~was_compared])])


def _others(rows: pd.DataFrame) -> Iterator[str]:
    """Those that gave no picture: by outcome, with the longest wait."""
    for outcome, part in rows[rows["outcome"].fillna(Outcome.ABORTED.value) != Outcome.ABORTED.value].groupby(
        "outcome"
    ):
        waited_s = (part["finished"] - part["scheduled"]).dt.total_seconds().max()
        codes = ", ".join(sorted(part["code"].dropna().unique()))
        after = f", after {format_duration(round(float(waited_s), 1))} at most" if waited_s == waited_s else ""
        yield f"{len(part):,} without one ({outcome}{f', {codes}' if codes else ''}{after})"

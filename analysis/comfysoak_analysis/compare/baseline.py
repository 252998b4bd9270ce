"""The baseline file: summaries of runs as one JSON of at most 1 MB, so that a history outlives its recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from comfysoak_analysis.compare.summary import RunSummary, Sketch, WorkflowTimes
from comfysoak_core.errors import RecordingError

KIND, FORMAT = "comfysoak baseline", 1
MOST_BYTES = 1_000_000
_POINTS = (129, 65, 33, 17, 9)  # of a sketch: the finest that fits; each is every second one of the one before
_RUNS: TypeAdapter[tuple[RunSummary, ...]] = TypeAdapter(tuple[RunSummary, ...])
_REMEDY = "Make it anew: comfysoak compare RUN... --baseline RUN... --save-baseline FILE"


def encode(runs: Sequence[RunSummary]) -> bytes:
    """The file's content; what only pictures need gets coarser until it fits. RecordingError when it never does."""
    for points in _POINTS:
        content = _content([_thinned(run, points) for run in runs])
        if len(content) <= MOST_BYTES:
            return content
    content = _content([replace(run, workflows=(), course=None) for run in runs])
    if len(content) <= MOST_BYTES:
        return content
    fit = len(runs) * MOST_BYTES // len(content)
    raise RecordingError(f"a baseline of {len(runs)} runs would be larger than 1 MB", f"Keep the latest {fit} of them.")


def _content(runs: Sequence[RunSummary]) -> bytes:
    document = {"kind": KIND, "format": FORMAT, "runs": _RUNS.dump_python(tuple(runs), mode="json")}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _thinned(run: RunSummary, points: int) -> RunSummary:
    workflows = tuple(
        WorkflowTimes(one.name, _coarser(one.latency, points), _coarser(one.service, points)) for one in run.workflows
    )
    return replace(run, workflows=workflows)


def _coarser(sketch: Sketch, points: int) -> Sketch:
    step = max((len(sketch.quantiles) - 1) // (points - 1), 1)
    return replace(sketch, quantiles=sketch.quantiles[::step])


def decode(content: bytes, where: Path) -> tuple[RunSummary, ...]:
    """The runs in a baseline file. RecordingError, in one sentence, for what is none, is damaged, or is newer."""
    if len(content) > MOST_BYTES:
        raise RecordingError(f"{where} is larger than a baseline file ever is (1 MB)", _REMEDY)
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        raise RecordingError(f"{where} is no baseline file: it is not JSON", _REMEDY) from None
    if not isinstance(document, dict) or document.get("kind") != KIND or not isinstance(document.get("format"), int):
        raise RecordingError(f'{where} is no baseline file: it does not say "kind": "{KIND}"', _REMEDY)
    if document["format"] > FORMAT:
        raise RecordingError(
            f"{where} has baseline format {document['format']}, this version of ComfySoak reads up to {FORMAT}",
            "Read it with the version of ComfySoak that made it, or a newer one.",
        )
    try:
        runs = _RUNS.validate_python(document.get("runs"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordingError(f"{where} is damaged: runs.{place}: {first['msg']}", _REMEDY) from None
    if not runs or not all(np.isfinite(figure.value) for run in runs for figure in run.figures):
        raise RecordingError(f"{where} is damaged: it holds no run, or a figure that is no number", _REMEDY)
    return runs


def read_baseline(path: Path) -> tuple[RunSummary, ...]:
    """The runs of the baseline file at `path`."""
    try:
        with path.open("rb") as file:
            return decode(file.read(MOST_BYTES + 1), path)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}", _REMEDY) from None

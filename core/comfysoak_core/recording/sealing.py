"""Sealing: the end of a recording."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.recording.run_file import EndReason, RunFile


def seal(root: Path, reason: EndReason, at_ns: int | None, detail: str) -> RunFile:
    """See `Recording.seal`."""
    raise NotImplementedError

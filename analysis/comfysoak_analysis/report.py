"""The door of analysis: a run directory in, a verdict out, and four files beside the recording.

    from comfysoak_analysis.report import build
    verdict = build(Path("runs/20261122-101500-demo"))
"""

from __future__ import annotations

from pathlib import Path

from comfysoak_analysis.verdict import Verdict


def build(run_dir: Path, *, live: bool = False) -> Verdict:
    """Write `report.html`, `summary.md`, `junit.xml` and `verdict.json` into `run_dir`, and return the verdict.

    `live`: the run is still going on; the page renews itself and a missing end is no defect. Raises RecordingError
    when `run_dir` holds no recording this version can read.
    """
    raise NotImplementedError

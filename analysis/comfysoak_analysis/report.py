"""The door of analysis: a run directory in, a verdict out, and four files beside the recording.

from comfysoak_analysis.report import build
verdict = build(Path("runs/20261122-101500-demo"))
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfysoak_analysis.ahead import reading_ahead
from comfysoak_analysis.allocating import trim
from comfysoak_analysis.compare.blocks import documents as documents_of_sides
from comfysoak_analysis.figures.chart import Chart
from comfysoak_analysis.frames import Run, open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.incidents import with_incidents
from comfysoak_analysis.judgement import judge
from comfysoak_analysis.junit import junit
from comfysoak_analysis.page import render
from comfysoak_analysis.summary import summary
from comfysoak_analysis.verdict import Verdict
from comfysoak_analysis.view import charts_of, view_of
from comfysoak_core.errors import RecordingError

REPORT, SUMMARY, JUNIT, VERDICT = "report.html", "summary.md", "junit.xml", "verdict.json"


def build(run_dir: Path) -> Verdict:
    """Write `report.html`, `summary.md`, `junit.xml` and `verdict.json` into `run_dir`, and return the verdict.

    Each finding leaves a folder in `run_dir`, too: see `incidents`.
    Raises RecordingError when `run_dir` holds no recording this version can read, or the files cannot be written.
    """
    run = open_run(run_dir)
    with reading_ahead(run):
        states = GpuStates(run)
        judged = judge(run, states)
        with ThreadPoolExecutor(1, "incidents") as aside:
            written = aside.submit(with_incidents, run, judged)
            charts = charts_of(run, judged, states)
        verdict = written.result()
        trim()  # incident folders are many small texts
        files = _files(run, verdict, states, charts, live=False)
    for name, content in sorted(
        files.items(), key=lambda file: len(file[1])
    ):  # a full disk has room for the small ones
        replace_file(run_dir / name, content)
    return verdict


def write_page(run_dir: Path, target: Path, *, live: bool) -> None:
    """Write the page alone, to `target`; the run directory is left as it is.

    `live`: the run is still going on; a missing end is no defect, and the page asks where it came from for its newer
    self. Raises RecordingError as `build` does.
    """
    replace_file(target, documents(open_run(run_dir), live=live)[1][REPORT])


def documents(run: Run, *, live: bool = False) -> tuple[Verdict, dict[str, bytes]]:
    """The verdict on `run` and the content of the four files by their names; nothing is written."""
    with reading_ahead(run):
        states = GpuStates(run)
        verdict = judge(run, states, live=live)
        return verdict, _files(run, verdict, states, charts_of(run, verdict, states), live=live)


def _files(run: Run, verdict: Verdict, states: GpuStates, charts: tuple[Chart, ...], *, live: bool) -> dict[str, bytes]:
    return {
        REPORT: render(view_of(run, verdict, states, charts, live=live)).encode("utf-8", "replace"),
        SUMMARY: summary(run, verdict).encode("utf-8", "replace"),
        JUNIT: junit(verdict),
        VERDICT: verdict.to_json(),
        **documents_of_sides(run, verdict.doubts),
    }


def replace_file(path: Path, content: bytes) -> None:
    """All of the new file or all of the old one, whoever is killed."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RecordingError(
            f"{path} cannot be written: {error.strerror}", "Free space, or check the permissions of the folder."
        ) from error

"""The report is made in a process of its own: it loads what the rest of a run must not carry for days."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from comfysoak_core.errors import ComfySoakError, ExitCode, RecordingError

WITHIN_S = 600.0


class ReportProcess:
    """Starts up at once, which takes most of a second, and makes the report when told.

    So an interrupted run can load pandas and plotly while its load is still ending. A process that is never told ends
    with its standard input.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._process = subprocess.Popen(
            [sys.executable, "-m", "comfysoak_analysis", str(run_dir), "--when-told"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def make(self, within_s: float = WITHIN_S) -> dict[str, object]:
        """Make report.html and its companions; the verdict as `verdict.json` holds it.

        Raises RecordingError when the recording cannot be read, ComfySoakError when making the report failed.
        """
        try:
            output, errors = self._process.communicate(b"now\n", within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise self._failed(f"it took longer than {within_s:.0f} s") from None
        text = output.decode("utf-8", "replace").strip()
        words = errors.decode("utf-8", "replace").strip()
        if not text.startswith("{"):
            if self._process.returncode == ExitCode.NOT_VALID and words:
                raise RecordingError(words)
            raise self._failed(words or f"exit status {self._process.returncode}")
        verdict: dict[str, object] = json.loads(text)
        return verdict

    def _failed(self, words: str) -> ComfySoakError:
        log = self._run_dir / "logs" / "analysis.log"
        log.write_text(words + "\n", encoding="utf-8")
        return ComfySoakError(
            f"the recording is complete, but its report could not be made: {words.splitlines()[-1]}",
            f"The details are in {log}; try again: comfysoak report {self._run_dir}",
        )

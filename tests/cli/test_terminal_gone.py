"""Nobody watches any more: a closed terminal ends a run in good order, a closed pipe does not end it at all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import Going, document, only_run, small_scenario

COMMAND = [sys.executable, "-m", "comfysoak", "run", "small.yaml"]


def test_a_closed_terminal_ends_the_run_in_good_order(tmp_path: Path) -> None:
    """When the terminal goes, the recording is sealed and the report made, as after SIGTERM."""
    small_scenario(tmp_path, ("for: 3s", "for: 5m"))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *COMMAND], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        Going(process, tmp_path).wait_for_prompts(1)
        os.close(ours)
        assert process.wait(60) == ExitCode.TERMINATED
    directory = only_run(tmp_path)
    ended = document(directory / "run.json")["ended"]
    assert (ended["reason"], "SIGHUP" in ended["detail"]) == ("terminated", True)
    assert (directory / "report.html").exists()
    assert None not in Recording.open(directory).table("prompts").column("outcome").to_pylist()


def test_a_closed_pipe_does_not_end_the_run(tmp_path: Path) -> None:
    """`comfysoak run 2>&1 | head -1` runs to its end, and its exit code says what came of it."""
    small_scenario(tmp_path, ('"prompts.failed < 50%"', '"prompts.count > 1000000"'))
    reading, writing = os.pipe()
    with subprocess.Popen(COMMAND, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as output:
            assert b"recording to" in output.readline()
        assert process.wait(90) == ExitCode.GOAL_MISSED
    directory = only_run(tmp_path)
    assert document(directory / "run.json")["ended"]["reason"] == "finished"
    assert document(directory / "verdict.json")["conclusion"] == "failed"

"""Starting the recorder and sealing in processes of their own: for producers that must not load pyarrow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from comfysoak_core.lifeline import LIFELINE_VARIABLE

SEAL_WAIT_S = 300.0


def start_recorder(run_dir: Path) -> subprocess.Popen[bytes]:
    """Start the recorder of a run. It ends with this process, or on `terminate()` in under a second."""
    return subprocess.Popen(
        [sys.executable, "-m", "comfysoak_core.recording.recorder", os.fspath(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {LIFELINE_VARIABLE: "1"},
    )


def stop_recorder(recorder: subprocess.Popen[bytes], wait_s: float = 5.0) -> None:
    """End a recorder that `start_recorder` gave, by force after `wait_s`."""
    recorder.terminate()
    try:
        recorder.wait(wait_s)
    except subprocess.TimeoutExpired:
        recorder.kill()
        recorder.wait()
    if recorder.stdin is not None:
        recorder.stdin.close()


def seal_run(run_dir: Path, reason: str, at_ns: int | None = None, detail: str = "") -> int:
    """Seal a run (as `Recording.seal` does) in a process of its own; its exit code."""
    command = [sys.executable, "-m", "comfysoak_core.recording.sealing", os.fspath(run_dir), reason]
    command += ["--at-ns", str(at_ns)] if at_ns is not None else []
    command += ["--detail", detail] if detail else []
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SEAL_WAIT_S, check=False).returncode

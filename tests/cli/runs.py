"""Running the command as a person does, and looking at what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from comfysoak_core.recording.recording import Recording

ROOT = Path(__file__).parents[2]
SMALL = f"""\
name: small
target:
  embedded:
    gpu: {{name: Small, memory: 16 GiB, load_bandwidth: 64 GiB}}
    costs: {{KSampler: {{steps: "{{steps}}", seconds_per_step: 5ms, vram: 1 GiB}}}}
workload:
  - workflow: {ROOT}/scenarios/workflows/sdxl.json
    deadline: 20s
    vary: {{seed: random, inputs: {{5.width: [64], 5.height: [64]}}}}
load:
  - {{users: 2, for: 3s}}
sessions: {{watchers: 2}}
goals: ["prompts.failed < 50%"]
on_undecided: pass
"""


def comfysoak(*arguments: str, cwd: Path, timeout: float = 90, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, waited for."""
    return subprocess.run(
        [sys.executable, "-m", "comfysoak", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def small_scenario(folder: Path, *settings: tuple[str, str]) -> Path:
    """A scenario of three seconds on the embedded simulator; `settings` replace text in it."""
    text = SMALL
    for old, new in settings:
        assert old in text
        text = text.replace(old, new)
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def only_run(folder: Path) -> Path:
    """The one run directory in `folder/runs`."""
    (run,) = (folder / "runs").iterdir()
    return run


def document(path: Path) -> dict[str, Any]:
    """A JSON file."""
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def prompts_of(folder: Path) -> list[dict[str, Any]]:
    """The prompts of the one run in `folder/runs`, in the order in which they were due."""
    rows: list[dict[str, Any]] = Recording.open(only_run(folder)).table("prompts").to_pylist()
    return sorted(rows, key=lambda row: int(row["scheduled_ns"]))


def eventually(holds: Callable[[], bool], what: str, within_s: float = 40) -> None:
    """Wait until it holds; fail saying what did not."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


@dataclass
class Going:
    """A run that is going on."""

    process: subprocess.Popen[str]
    folder: Path

    def run_dir(self) -> Path:
        """Its run directory, once it is there."""
        eventually(lambda: any((self.folder / "runs").glob("2*")), "a run directory")
        return only_run(self.folder)

    def journal_rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table that lie in the journal, read without the harness's own code."""
        rows = []
        for path in sorted(self.run_dir().glob(f"journal/*~{table}~*.jsonl")):
            header, *lines = path.read_bytes().split(b"\n")
            columns = json.loads(header)["columns"] if header else []
            for line in lines:
                if line:
                    rows += [dict(zip(columns, row, strict=True)) for row in json.loads(line)]
        return rows

    def wait_for_prompts(self, count: int) -> None:
        """Until `count` prompts have ended."""

        def ended() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            return sum(row["outcome"] is not None for row in self.journal_rows("prompts")) >= count

        eventually(ended, f"{count} prompts ended")

    def children(self) -> dict[str, psutil.Process]:
        """Its child processes by role."""
        roles = {
            "comfysoak_simulator": "simulator",
            "comfysoak_core.recording.recorder": "recorder",
            "comfysoak_probes": "sampler",
            "locust": "load",
        }
        found = {}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            for word in child.cmdline():
                if word in roles:
                    found[roles[word]] = child
        return found


@contextmanager
def going(folder: Path, *arguments: str) -> Iterator[Going]:
    """Start a run; whatever the test does, nothing of it is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "run", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    try:
        yield Going(process, folder)
    finally:
        family: list[subprocess.Popen[str] | psutil.Process] = [process]
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        for member in [*family, *children]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                member.send_signal(signal.SIGKILL)
        process.communicate()

"""Locust as users start it: a process of its own, so that its monkey-patching reaches no other test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.recording.journal import read_batches
from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.scenario.plan import Plan

LOCUSTFILES = Path(__file__).parents[2] / "locustfiles"
WITHIN_S = 60.0

Rows = list[dict[str, Any]]


def plain_locust(folder: Path, host: str, *options: str, locustfile: Path | None = None) -> subprocess.Popen[str]:
    """`locust -f ... --host ...` in `folder`, without any command of ours."""
    return _start(folder, ["-f", str(locustfile or LOCUSTFILES / "comfyui.py"), "--host", host, *options], {})


def planned_locust(
    folder: Path, plan: Plan, *options: str, locustfile: Path | None = None
) -> tuple[subprocess.Popen[str], Recording]:
    """Locust as `comfysoak run` starts it: the run directory is there, with its plan."""
    recording = Recording.create(
        folder, plan.name, clock=AnchoredClock(Anchor.take()), plan=plan.model_dump(mode="json")
    )
    file = str(locustfile or LOCUSTFILES / "comfyui.py")
    arguments = ["-f", file, "--headless", "--exit-code-on-error", "0", *options]
    return _start(folder, arguments, {RUN_DIRECTORY_VARIABLE: str(recording.path)}), recording


def _start(folder: Path, arguments: Sequence[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "locust", *arguments],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What Locust said, when it has ended by itself with exit status 0."""
    try:
        said, _ = process.communicate(timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise AssertionError(f"Locust did not end:\n{said[-4000:]}") from None
    assert process.returncode == 0, said[-4000:]
    assert "Traceback" not in said, said[-4000:]
    return said


def runs_in(folder: Path) -> list[Recording]:
    """The recordings plain Locust has made there, oldest first."""
    made = (path for path in (folder / "runs").iterdir() if not path.name.startswith("."))  # hidden: half made
    return [Recording.open(path) for path in sorted(made)]


def rows(recording: Recording, table: str) -> Rows:
    """The rows of a table."""
    found: Rows = recording.table(table).to_pylist()
    return found


def told(journal: Path, table: str, column: str) -> int:
    """How many rows of a journal have this column by now."""
    count = 0
    for stretch in stretches(journal):
        if stretch.table == table:
            for batch in read_batches(stretch.path):
                place = batch.columns.index(column)
                count += sum(row[place] is not None for row in batch.rows)
    return count


def queue_of(server: str) -> list[Any]:
    """What runs and what waits there."""
    with urlopen(f"{server}/queue", timeout=30) as answer:
        found = json.load(answer)
    return [*found["queue_running"], *found["queue_pending"]]


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody uses now."""
    with ExitStack() as stack:
        listening = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(found.getsockname()[1] for found in listening)


def wait_until(ready: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Poll until it is so."""
    give_up = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < give_up, f"not within {within_s:g} s: {what}"
        time.sleep(0.05)

"""The load engine: whole prompt cycles per CPU-second against the plain way, and what recording costs.

A cycle is: submit, read every message (17 a prompt and more), see the end, ask history, fetch the picture, decode it
and check it. Both sides do all of it, in turn, against the same simulator, which runs in a process of its own;
counted is the CPU time of the load process alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure

FILES = Path(__file__).parent / "load_files"
USERS = 4
ROUNDS = 5
ROUNDS_FULL = 7
NEVER_WITHIN_S = 120.0
GOAL_KEPT, GOAL_NEW = 6.0, 8.0
GOAL_RECORDING_PERCENT = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of Locust measured (`load_files/meter.py`)."""

    cycles: int
    cpu_s: float
    wall_s: float
    journal_s: float
    memory: list[tuple[int, int]]  # once a second: cycles so far, bytes

    @property
    def cycles_per_cpu_s(self) -> float:
        """The figure."""
        return self.cycles / self.cpu_s


def measure(*, full: bool) -> Iterator[Figure]:
    """The figures, most important first."""
    rounds = ROUNDS_FULL if full else ROUNDS
    ours: list[Run] = []
    timed: list[Run] = []
    kept: list[Run] = []
    new: list[Run] = []
    with simulator() as server, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for _ in range(rounds):
            ours.append(run_locust("ours", {}, server, folder))
            kept.append(run_locust("peer", {"BENCH_SOCKET": "kept"}, server, folder))
            new.append(run_locust("peer", {}, server, folder))
            timed.append(run_locust("ours", {"BENCH_JOURNAL": "timed"}, server, folder))
    yield _against("HttpUser + websocket-client, a socket per prompt", ours, new, GOAL_NEW)
    yield _against("HttpUser + websocket-client, a kept socket", ours, kept, GOAL_KEPT)
    yield _recording(timed)


def _against(peer: str, ours: list[Run], theirs: list[Run], goal: float) -> Figure:
    ratios = [own.cycles_per_cpu_s / other.cycles_per_cpu_s for own, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Figure(
        name="whole prompt cycles",
        value=statistics.median(run.cycles_per_cpu_s for run in ours),
        unit="per CPU-second",
        goal=f"at least {goal:g}x",
        met=ratio >= goal,
        peer=peer,
        peer_value=statistics.median(run.cycles_per_cpu_s for run in theirs),
        ratio=ratio,
        spread=_spread(ratios, "x"),
        runs=len(ours),
    )


def _recording(ours: list[Run]) -> Figure:
    """The share of the load process's CPU time that goes into its journal."""
    shares = [100 * run.journal_s / run.cpu_s for run in ours]
    share = statistics.median(shares)
    return Figure(
        name="recording",
        value=share,
        unit="% of the load process",
        goal=f"below {GOAL_RECORDING_PERCENT:g} %",
        met=share < GOAL_RECORDING_PERCENT,
        spread=_spread(shares, "%"),
        runs=len(shares),
    )


def _spread(values: list[float], unit: str) -> str:
    return f"{min(values):.1f}{unit}..{max(values):.1f}{unit}"


def run_locust(locustfile: str, settings: dict[str, str], server: str, folder: str) -> Run:
    """Run Locust with one of the locustfiles in `load_files`; each prints one line of JSON."""
    command = [sys.executable, "-m", "locust", "-f", str(FILES / f"{locustfile}.py"), "--host", server, "--headless"]
    command += ["-u", str(USERS), "-r", str(USERS), "--only-summary", "--loglevel", "ERROR"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=NEVER_WITHIN_S + float(settings.get("BENCH_DURATION_S", "0")),
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"cycles"')]
    if not lines:
        raise RuntimeError(f"{locustfile} measured nothing:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return Run(**json.loads(lines[-1]))


@contextmanager
def simulator() -> Iterator[str]:
    """A simulator that takes next to no time for its nodes; its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "sim", "--port", "0", "--speed", "1000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["servers"][0])
    finally:
        process.terminate()
        process.wait(10)

"""From the tables of a soak to its finished report: time, memory and size, beside a plain script of the same charts.

FULL=1 takes all 72 h (8 GPUs at 10 Hz, 5 M prompts, 25 M nodes, 0.5 M sockets); otherwise a twentieth of it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure

HERE = Path(__file__).parent
SCALE, HOURS = 0.05, 72.0
WALL_GOAL_S, MEMORY_GOAL_MB, SIZE_GOAL_MB = 15.0, 500.0, 3.0
TIME_RATIO, MEMORY_RATIO = 2.0, 4.0
_VERDICTS = (0, 1, 3)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def measure(*, full: bool) -> Iterator[Figure]:
    """Ours and the plain script in turn, each in a process of its own."""
    scale, runs = (1.0, 3) if full else (SCALE, 3)
    part = f"{HOURS * scale:g} h" + ("" if full else f", {scale:.0%} of the soak")
    with tempfile.TemporaryDirectory() as folder:
        run_dir, page = Path(folder) / "soak", Path(folder) / "plain.html"
        # In a process of its own: what a parent holds counts as the peak of the children it starts.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.planted.soak", str(run_dir), "--scale", str(scale)], check=True
        )
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(_cost([sys.executable, "-m", "comfysoak_analysis", str(run_dir)], _VERDICTS))
            plain = [sys.executable, str(HERE / "analysis_files" / "plain.py"), str(run_dir), str(page)]
            theirs.append(_cost(plain, (0,)))
        size_mb = (run_dir / "report.html").stat().st_size / 1e6
        their_size_mb = page.stat().st_size / 1e6
    yield _figure(f"report of {part}: time", "s", [one.wall_s for one in ours], [one.wall_s for one in theirs],
                  WALL_GOAL_S if full else None, TIME_RATIO)  # fmt: skip
    yield _figure(f"report of {part}: CPU", "s", [one.cpu_s for one in ours], [one.cpu_s for one in theirs], None, None)
    yield _figure(f"report of {part}: peak memory", "MB", [one.peak_mb for one in ours],
                  [one.peak_mb for one in theirs], MEMORY_GOAL_MB, MEMORY_RATIO if full else None)  # fmt: skip
    yield _figure(f"report of {part}: page", "MB", [size_mb], [their_size_mb], SIZE_GOAL_MB, None)


def _figure(
    name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], limit: float | None, ratio: float | None
) -> Figure:
    mine, its = statistics.median(ours), statistics.median(theirs)
    goals = ([f"<= {limit:g} {unit}"] if limit is not None else []) + ([f">= {ratio:g}x"] if ratio is not None else [])
    met = (limit is None or mine <= limit) and (ratio is None or its / mine >= ratio)
    return Figure(
        name, mine, unit, " and ".join(goals) or None, met if goals else None, "pandas + plotly", its, its / mine,
        f"{min(ours):.3g}..{max(ours):.3g}", len(ours),
    )  # fmt: skip


def _cost(command: Sequence[str], exit_codes: Sequence[int]) -> Cost:
    """Wall and CPU seconds and peak memory of one process; RuntimeError with its last words where it fails."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in exit_codes:
            said.seek(0)
            raise RuntimeError(f"{command[1:3]} ended with {process.returncode}: {said.read()[-500:]!r}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, _megabytes(usage))


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

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
from pathlib import Path

from benchmarks.figure import Figure

FILES = Path(__file__).parent / "load_files"
USERS = 4
ROUNDS = 3
ROUNDS_FULL = 7
NEVER_WITHIN_S = 120.0

OURS: dict[str, str] = {}
OURS_UNRECORDED = {"BENCH_JOURNAL": "off"}
PEER_KEPT = {"BENCH_SOCKET": "kept"}
PEER_NEW: dict[str, str] = {}


def measure(*, full: bool) -> Iterator[Figure]:
    """The figures, most important first."""
    rounds = ROUNDS_FULL if full else ROUNDS
    with _simulator() as server, tempfile.TemporaryDirectory() as folder:
        ours, unrecorded, kept, new = [], [], [], []
        for _ in range(rounds):
            ours.append(_cycles_per_cpu_s("ours", OURS, server, folder))
            kept.append(_cycles_per_cpu_s("peer", PEER_KEPT, server, folder))
            unrecorded.append(_cycles_per_cpu_s("ours", OURS_UNRECORDED, server, folder))
            new.append(_cycles_per_cpu_s("peer", PEER_NEW, server, folder))
    yield _against("HttpUser + websocket-client, a kept socket", ours, kept, 3.0)
    yield _against("HttpUser + websocket-client, a socket per prompt", ours, new, 3.0)
    yield _recording(ours, unrecorded)


def _against(peer: str, ours: list[float], theirs: list[float], goal: float) -> Figure:
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    return Figure(
        name="whole prompt cycles",
        value=statistics.median(ours),
        unit="per CPU-second",
        goal=f"at least {goal:g}x",
        met=ratio >= goal,
        peer=peer,
        peer_value=statistics.median(theirs),
        ratio=ratio,
        spread=_spread(ratios, "x"),
        runs=len(ours),
    )


def _recording(recorded: list[float], unrecorded: list[float]) -> Figure:
    """CPU time of a cycle with the journal, above that without."""
    overheads = [100 * (without / own - 1) for own, without in zip(recorded, unrecorded, strict=True)]
    overhead = statistics.median(overheads)
    return Figure(
        name="recording, of the load process",
        value=overhead,
        unit="% CPU",
        goal="below 5 %",
        met=overhead < 5.0,
        spread=_spread(overheads, "%"),
        runs=len(overheads),
    )


def _spread(values: list[float], unit: str) -> str:
    return f"{min(values):.1f}{unit}..{max(values):.1f}{unit}"


def _cycles_per_cpu_s(locustfile: str, settings: dict[str, str], server: str, folder: str) -> float:
    """Run Locust with one of the locustfiles beside this file; they print one line of JSON (`meter.py`)."""
    command = [sys.executable, "-m", "locust", "-f", str(FILES / f"{locustfile}.py"), "--host", server, "--headless"]
    command += ["-u", str(USERS), "-r", str(USERS), "--only-summary", "--loglevel", "ERROR"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=NEVER_WITHIN_S,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"cycles"')]
    if not lines:
        raise RuntimeError(f"{locustfile} measured nothing:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    found = json.loads(lines[-1])
    return float(found["cycles"] / found["cpu_s"])


@contextmanager
def _simulator() -> Iterator[str]:
    """A simulator that takes next to no time for its nodes; its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "comfysoak_simulator", "--port", "0", "--speed", "1000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["servers"][0])
    finally:
        process.terminate()
        process.wait(10)

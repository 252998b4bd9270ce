"""GPUs of another machine by a probe that listens: what a cut network and a killed sampler lose, and what it weighs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from tests.probes.cuttable import Cut, Network
from tests.probes.far_probe import FarProbe

from benchmarks.figure import Figure
from benchmarks.standin_driver import build as build_driver
from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor
from comfysoak_core.recording.journal import read_batches, stretches

EVERY_S = 0.1
GPUS = 8
KEEP = "3m"  # all that is sampled in a part of the benchmark, so that the journal can be compared with it
TIMES = 20
SECONDS_LOST_MOST = 2.0
MEMORY_GOAL = 60.0
SETTLE_S = 3.0
TABLES = ("gpu", "gpu_slow")
Key = tuple[str, int, int]


def measure(*, full: bool) -> Iterator[Figure]:
    """Samples lost over cuts, seconds lost over kills, and memory of the probe."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not build_driver(folder):
            return
        probe = FarProbe.start(
            folder, "--keep", KEEP, "--every", f"{EVERY_S * 1000:.0f}ms", driver=folder, script=f"gpus {GPUS}\n"
        )
        try:
            yield _cuts(folder, probe, 3.0 if full else 1.2)
            yield _kills(folder, probe, 3.0 if full else 0.5)
            weight = psutil.Process(probe.process.pid).memory_info().rss / 1e6
            yield Figure(
                f"a probe that listens, {GPUS} GPUs: memory", weight, "MB", f"< {MEMORY_GOAL:.0f}",
                weight < MEMORY_GOAL,
            )  # fmt: skip
        finally:
            probe.end()


def _cuts(folder: Path, probe: FarProbe, away_s: float) -> Figure:
    """Twenty cuts, refused, reset and silent in turn; what the ring had and the journal has not is lost."""
    ways = list(Cut)
    with Network(probe.port) as network, _sampler(folder, network.url) as run:
        time.sleep(SETTLE_S)
        for number in range(TIMES):
            network.cut(ways[number % len(ways)])
            time.sleep(away_s)
            network.mend()
            time.sleep(1.0)
        _wait_until_caught_up(run)
    found = Samples.of(run.folder, probe)
    name = f"samples lost over {TIMES} cuts of the network, of {found.count}"
    lost = found.lost + found.doubled
    return Figure(name, lost, "samples", "0", lost == 0, spread=f"{found.doubled} doubled", runs=TIMES)


def _kills(folder: Path, probe: FarProbe, away_s: float) -> Figure:
    """Twenty SIGKILLs of the sampler, another one started each time; the longest stretch that is missing."""
    anchor = Anchor.take().to_environment()
    with _sampler(folder, probe.url, anchor) as run:
        time.sleep(SETTLE_S)
        for number in range(TIMES):
            os.kill(run.process.pid, signal.SIGKILL)
            run.process.wait()
            time.sleep(away_s)
            run.start()
            time.sleep(1.0 + number % 7 / 10)  # at another point of its round each time
        _wait_until_caught_up(run)
    found = Samples.of(run.folder, probe)
    name = f"longest stretch lost over {TIMES} kills of the run's side, of {found.count} samples"
    met = found.longest_s <= SECONDS_LOST_MOST and not found.doubled
    return Figure(
        name, found.longest_s, "s", f"<= {SECONDS_LOST_MOST:.0f}", met,
        spread=f"{found.lost} lost, {found.doubled} doubled", runs=TIMES,
    )  # fmt: skip


@dataclass(slots=True)
class _Run:
    """A run directory and the sampler that fills it."""

    folder: Path
    anchor: str
    process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start a sampler on it, as the supervisor does."""
        environment = {**os.environ, ANCHOR_VARIABLE: self.anchor}
        command = [sys.executable, "-m", "comfysoak_probes", str(self.folder)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@contextmanager
def _sampler(folder: Path, url: str, anchor: str | None = None) -> Iterator[_Run]:
    run = _Run(Path(tempfile.mkdtemp(dir=folder)), anchor or Anchor.take().to_environment(), None)  # type: ignore[arg-type]  # `start` sets it
    plan = {"servers": [], "probes": {"gpu": [{"kind": "probe", "url": url}], "every_s": EVERY_S, "host_every_s": 600}}
    (run.folder / "run.json").write_text(json.dumps({"plan": plan}), encoding="utf-8")
    run.start()
    try:
        yield run
    finally:
        run.process.terminate()
        run.process.wait(10)


def _wait_until_caught_up(run: _Run) -> None:
    """Until rows come that are as good as new."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        moments = [at_ns for at_ns, _ in _journalled(run.folder, "gpu")]
        if moments and time.time_ns() - max(moments) < 1.5e9:
            return
        time.sleep(1.0)


@dataclass(frozen=True, slots=True)
class Samples:
    """What a journal has of the rows a probe sampled: how many, how many are not there, how many twice."""

    count: int
    lost: int
    doubled: int
    longest_s: float  # without a row of some GPU that the probe has

    @classmethod
    def of(cls, folder: Path, probe: FarProbe) -> Samples:
        """Compare with the ring, which has all of it; from the first row the journal has to the last.

        Moments are moved to the run's clock: rows are known by what they cost and how late they were, in nanoseconds.
        """
        sampled = _sampled(probe)
        count = lost = doubled = 0
        longest_s = 0.0
        for table in TABLES:
            journalled = Counter(key for _, key in _journalled(folder, table))
            count += journalled.total()
            doubled += journalled.total() - len(journalled)
            for rows in sampled[table].values():
                there = [index for index, (_, key) in enumerate(rows) if key in journalled]
                lost += there[-1] - there[0] + 1 - len(there)
                gaps = ((rows[late][0] - rows[early][0]) / 1e9 for early, late in pairwise(there) if late > early + 1)
                longest_s = max(longest_s, *gaps, 0.0)
        return cls(count, lost, doubled, longest_s)


def _journalled(folder: Path, table: str) -> list[tuple[int, Key]]:
    """Moment and key of each row of a table."""
    found: list[tuple[int, Key]] = []
    for stretch in stretches(folder / "journal"):
        if stretch.table == table:
            for batch in read_batches(stretch.path):
                found += _keyed(batch.columns, batch.rows)
    return found


def _sampled(probe: FarProbe) -> dict[str, dict[str, list[tuple[int, Key]]]]:
    """The same of all rows in the ring, by table and GPU."""
    found: dict[str, dict[str, list[tuple[int, Key]]]] = {table: defaultdict(list) for table in TABLES}
    after = 0
    while True:
        head, batches = probe.batches(after)
        if not batches:
            return found
        for table, first, rows in batches:
            after = first + len(rows) - 1
            for at_ns, key in _keyed(head["columns"][table], rows) if table in TABLES else ():
                found[table][key[0]].append((at_ns, key))


def _keyed(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Key]]:
    at, uuid, cost, late = (columns.index(name) for name in ("at_ns", "uuid", "read_cost_ns", "late_ns"))
    for row in rows:
        yield row[at], (row[uuid], row[cost], row[late])

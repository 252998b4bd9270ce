"""GPUs of another machine by a probe that listens: what a cut network and a killed sampler lose, and what it weighs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.probes.cuttable import Cut, Network
from tests.probes.far_probe import FarProbe

from benchmarks.bench_probes import _build as build_driver
from benchmarks.figure import Figure
from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor
from comfysoak_core.recording.journal import read_batches, stretches

EVERY_S = 0.1
GPUS = 8
KEEP = "20s"
TIMES = 20
SECONDS_LOST_MOST = 2.0
MEMORY_GOAL = 60.0
SETTLE_S = 3.0


def measure(*, full: bool) -> Iterator[Figure]:
    """Samples lost over cuts, seconds lost over kills, and memory of the probe."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        driver = folder if build_driver(folder) else None
        probe = FarProbe.start(
            folder, "--keep", KEEP, "--every", f"{EVERY_S * 1000:.0f}ms", driver=driver, script=f"gpus {GPUS}\n"
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
    found = Samples.of(run.folder)
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
    found = Samples.of(run.folder)
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
        moments = [row[0] for row in _rows(run.folder, "gpu")[-50:]]
        if moments and time.time_ns() - max(moments) < 1.5e9:
            return
        time.sleep(1.0)


def _rows(folder: Path, table: str) -> list[tuple[int, int, str]]:
    """Moment, lateness, and which GPU or host, of each row of a table from the probe."""
    found = []
    for stretch in stretches(folder / "journal"):
        if stretch.table != table:
            continue
        for batch in read_batches(stretch.path):
            at, late, key = (batch.columns.index(name) for name in ("at_ns", "late_ns", _key(table)))
            found += [(row[at], row[late] or 0, row[key]) for row in batch.rows]
    return sorted(found)


def _key(table: str) -> str:
    return "host" if table == "host" else "uuid"


@dataclass(frozen=True, slots=True)
class Samples:
    """What a journal has of the grid of each GPU: how many samples, how many are not there, how many twice."""

    count: int
    lost: int
    doubled: int
    longest_s: float

    @classmethod
    def of(cls, folder: Path) -> Samples:
        """Count by the grid on which each table is sampled: moments less their lateness lie whole periods apart.

        A reading that a busy machine skips is skipped for one GPU or another; one that was lost is missing for all.
        """
        count = lost = doubled = 0
        longest_s = 0.0
        for table, every_s in (("gpu", EVERY_S), ("gpu_slow", 1.0)):
            grids: dict[str, list[int]] = {}
            rows = _rows(folder, table)
            began_ns = min((at_ns - late_ns for at_ns, late_ns, _ in rows), default=0)
            for at_ns, late_ns, key in rows:
                grids.setdefault(key, []).append(round((at_ns - late_ns - began_ns) / 1e9 / every_s))
            there = set().union(*grids.values()) if grids else set()
            count += sum(map(len, grids.values()))
            doubled += sum(len(moments) - len(set(moments)) for moments in grids.values())
            missing = [moment for moment in range(min(there), max(there)) if moment not in there] if there else []
            lost += len(missing) * len(grids)
            longest_s = max([longest_s, *(length * every_s for length in _lengths(missing))])
        return cls(count, lost, doubled, longest_s)


def _lengths(missing: list[int]) -> list[int]:
    lengths: list[int] = []
    for index, moment in enumerate(missing):
        if index and missing[index - 1] == moment - 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
    return lengths

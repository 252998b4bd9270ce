"""What watching costs: CPU and memory of the sampler, its lateness beside a load, other tools on the same GPUs."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.figure import Figure
from benchmarks.peers import interpreter
from benchmarks.standin_driver import build, environment
from comfysoak_core.recording.journal import read_batches, stretches

FILES = Path(__file__).parent / "probe_files"
GPUS = 8
EVERY_S = 0.1
SETTLE_S = 3.0
CPU_GOAL = 1.0  # percent of a core
LATENESS_GOAL = 1.2
MEMORY_GOAL = 60.0  # MB
FLAT_GOAL = 1.0  # MB
SCHEDULER_CLOCK = 2
BUSY = "while True: pass"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of the sampler took: percent of a core, and MB at its end."""

    cpu_percent: float
    rss_mb: float


def measure(*, full: bool) -> Iterator[Figure]:
    """All figures; those with stand-in GPUs only where there is a C compiler."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        has_driver = build(folder)
        with _server(folder) as url:
            yield from _costs(folder, url, full=full, has_driver=has_driver)
        if has_driver:
            yield from _lateness(folder, full=full)
            yield from _memory(folder, full=full)
            yield from _peers(folder, full=full)


def _costs(folder: Path, url: str, *, full: bool, has_driver: bool) -> Iterator[Figure]:
    """CPU of the sampler with 1 and with 8 GPUs and by an exporter, and its memory."""
    seconds, runs = (60.0, 5) if full else (10.0, 3)
    costs: list[Cost] = []
    for gpus in (1, GPUS) if has_driver else ():
        plan = _plan(gpu=[{"kind": "nvml"}], servers=[url], server_every_s=60.0, log="off")
        some = [_run(folder, plan, gpus, seconds) for _ in range(runs)]
        costs += some
        yield _cpu(f"sampler, {gpus} stand-in GPU{'s' if gpus > 1 else ''}, host, one process tree", some)
    plan = _plan(gpu=[{"kind": "dcgm", "url": f"{url}/metrics"}], servers=[url], server_every_s=1.0, log="socket")
    some = [_run(folder, plan, 0, seconds) for _ in range(runs)]
    costs += some
    yield _cpu("sampler, 1 GPU by DCGM text, host, one server with its log", some)
    largest = max(cost.rss_mb for cost in costs)
    yield Figure("sampler memory", largest, "MB", f"< {MEMORY_GOAL:.0f}", largest < MEMORY_GOAL, runs=len(costs))


def _cpu(name: str, costs: list[Cost]) -> Figure:
    shares = [cost.cpu_percent for cost in costs]
    value = statistics.median(shares)
    spread = f"{min(shares):.2f}..{max(shares):.2f}"
    return Figure(
        f"{name}: CPU at 10 Hz", value, "% of a core", f"< {CPU_GOAL:.0f}", value < CPU_GOAL, spread=spread,
        runs=len(costs),
    )  # fmt: skip


def _lateness(folder: Path, *, full: bool) -> Iterator[Figure]:
    """How late samples are beside two busy processes on two cores, against a loop that only sleeps, at once there."""
    seconds, runs = (60.0, 7) if full else (15.0, 5)
    pairs = [_late_ms(folder, seconds) for _ in range(runs)]
    ours, bare = (float(np.quantile(np.concatenate(column), 0.99)) for column in zip(*pairs, strict=True))
    ratios = [float(np.quantile(one, 0.99) / np.quantile(other, 0.99)) for one, other in pairs]
    yield Figure(
        f"lateness of samples p99, {GPUS} stand-in GPUs at 10 Hz, two busy processes on the same two cores", ours, "ms",
        f"<= {LATENESS_GOAL}x", ours <= LATENESS_GOAL * bare, "a bare loop that sleeps beside it", bare, ours / bare,
        spread=f"{min(ratios):.2f}..{max(ratios):.2f}x", runs=runs,
    )  # fmt: skip


def _late_ms(folder: Path, seconds: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Lateness of all samples and of all wake-ups of the bare loop, in one stretch of time."""
    with ExitStack() as stack:
        stack.enter_context(_on_two_cores())
        for _ in range(2):
            stack.enter_context(_process([sys.executable, "-c", BUSY]))
        plan = _plan(gpu=[{"kind": "nvml"}], servers=[], log="off")
        run = stack.enter_context(_sampler(folder, plan, GPUS))[1]
        time.sleep(SETTLE_S)
        since_ns = time.time_ns()
        command = [sys.executable, FILES / "bare_loop.py", str(EVERY_S), str(seconds)]
        bare = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    late_ns = _column(run / "journal", "gpu", "late_ns", since_ns)
    return np.array(late_ns) / 1e6, np.array(bare) / 1e6


@contextmanager
def _on_two_cores() -> Iterator[None]:
    """Children of this process share two cores, where the system can be told so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _column(journal: Path, table: str, column: str, since_ns: int) -> list[int]:
    """The values of a column from a moment on, as they stand in a journal."""
    found: list[int] = []
    for stretch in stretches(journal):
        if stretch.table == table:
            for batch in read_batches(stretch.path):
                at, wanted = batch.columns.index("at_ns"), batch.columns.index(column)
                found += [int(row[wanted]) for row in batch.rows if row[at] >= since_ns]
    return found


def _memory(folder: Path, *, full: bool) -> Iterator[Figure]:
    """RSS of `comfysoak probe` without a terminal, over many samples taken fast."""
    wanted, every_s = (1_000_000 if full else 150_000), 0.001
    command = [sys.executable, "-m", "comfysoak", "probe", "--every", f"{every_s * 1000:g}ms"]
    log = folder / "probe.log"
    with log.open("wb") as out, subprocess.Popen(
        command, env=environment(folder, GPUS), stdout=out, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        try:
            time.sleep(SETTLE_S)
            began_s, sizes = time.monotonic(), [_rss_mb(process.pid)]
            while (time.monotonic() - began_s) * GPUS / every_s < wanted:
                time.sleep(0.5)
                sizes.append(_rss_mb(process.pid))
            expected = round((time.monotonic() - began_s) * GPUS / every_s)
        finally:
            process.send_signal(signal.SIGINT)
    skipped = sum(int(count) for count in re.findall(r"source_late .*?: (\d+) readings skipped", log.read_text()))
    samples = f"{expected - skipped:,} samples"
    largest, grown = max(sizes), max(sizes) - min(sizes[: max(1, len(sizes) // 10)])
    yield Figure("comfysoak probe: memory", largest, "MB", f"< {MEMORY_GOAL:.0f}", largest < MEMORY_GOAL)
    yield Figure(f"comfysoak probe: growth over {samples}", grown, "MB", f"< {FLAT_GOAL:.0f}", grown < FLAT_GOAL)


def _peers(folder: Path, *, full: bool) -> Iterator[Figure]:
    """CPU time of one sample against libraries that read the same fields, each in a process of its own, in turn."""
    python = interpreter()
    if python is None:
        return
    runs, times = (15, 3) if full else (5, 1)
    for ours, peer, fields, readings in (
        ("comfysoak", "nvitop", "memory and utilisation", 1500 * times),
        (
            "comfysoak-all",
            "gpustat",
            "all that gpustat reads (ours: all tables)",
            30 * times,
        ),  # it sleeps 0.1 s in each
    ):
        pairs = [
            (_reading_us(folder, Path(sys.executable), ours, readings), _reading_us(folder, python, peer, readings))
            for _ in range(runs)
        ]
        value, peer_value = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        yield Figure(
            f"CPU per sample of one stand-in GPU: {fields}", value, "µs", "<= 1x", value <= peer_value, peer,
            peer_value, value / peer_value, spread=f"{min(ratios):.2f}..{max(ratios):.2f}x", runs=runs,
        )  # fmt: skip


def _reading_us(folder: Path, python: Path, way: str, readings: int) -> float:
    command = [python, FILES / "reading.py", way, str(readings)]
    done = subprocess.run(command, env=environment(folder, 1), capture_output=True, text=True, check=True)
    return float(done.stdout) / 1000


def _plan(**probes: Any) -> dict[str, Any]:  # the fields of the plan's probes, and its servers
    servers = probes.pop("servers")
    return {"plan": {"servers": servers, "probes": {"every_s": EVERY_S, "host_every_s": 1.0, **probes}}}


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """An embedded server that idles, and its address."""
    command = [sys.executable, "-m", "comfysoak_simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["servers"][0])
        finally:
            process.terminate()


@contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:  # those of Popen
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def _sampler(folder: Path, plan: Mapping[str, Any], gpus: int) -> Iterator[tuple[int, Path]]:
    """A sampler at work: its process id and its run directory."""
    run = Path(tempfile.mkdtemp(dir=folder))
    (run / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    command = [sys.executable, "-m", "comfysoak_probes", str(run)]
    with _process(command, env=environment(folder, gpus), stderr=subprocess.DEVNULL) as process:
        yield process.pid, run
        assert process.poll() is None, "the sampler has ended by itself"


def _run(folder: Path, plan: Mapping[str, Any], gpus: int, seconds: float) -> Cost:
    """Start a sampler, let it settle, and take its CPU time over `seconds`."""
    with _sampler(folder, plan, gpus) as (pid, _):
        time.sleep(SETTLE_S)
        began_s, cpu_s = time.monotonic(), _cpu_seconds(pid)
        time.sleep(seconds)
        share = (_cpu_seconds(pid) - cpu_s) / (time.monotonic() - began_s)
        return Cost(100 * share, _rss_mb(pid))


def _rss_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def _cpu_seconds(pid: int) -> float:
    """CPU seconds of another process, in nanoseconds where /proc counts in hundredths."""
    return time.clock_gettime((~pid << 3) | SCHEDULER_CLOCK)

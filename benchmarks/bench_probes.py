"""What watching costs: CPU and memory of the sampler's process at ten samples a second."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figure import Figure

ROOT = Path(__file__).parents[1]
STANDIN = ROOT / "tests" / "probes" / "standin_nvml.c"
SETTLE_S = 3.0
CPU_GOAL = 1.0  # percent of a core
MEMORY_GOAL = 60.0  # MB
SCHEDULER_CLOCK = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of the sampler took: percent of a core, and MB at its end."""

    cpu_percent: float
    rss_mb: float


def measure(*, full: bool) -> Iterator[Figure]:
    """CPU of the sampler with 1 and with 8 GPUs and by an exporter, and its memory."""
    seconds, runs = (60.0, 5) if full else (10.0, 3)
    with tempfile.TemporaryDirectory() as name, _server(Path(name)) as url:
        folder = Path(name)
        costs: list[Cost] = []
        if _build(folder):
            for gpus in (1, 8):
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


def _plan(**probes: Any) -> dict[str, Any]:  # the fields of the plan's probes, and its servers
    servers = probes.pop("servers")
    return {"plan": {"servers": servers, "probes": {"every_s": 0.1, "host_every_s": 1.0, **probes}}}


def _build(folder: Path) -> bool:
    """Build the stand-in driver; False where there is no compiler."""
    if shutil.which("cc") is None:
        print("no C compiler (Debian: apt-get install gcc libc6-dev): no figures with stand-in GPUs", file=sys.stderr)
        return False
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, STANDIN, "-lpthread"], check=True)
    return True


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


def _run(folder: Path, plan: Mapping[str, Any], gpus: int, seconds: float) -> Cost:
    """Start a sampler, let it settle, and take its CPU time over `seconds`."""
    run = Path(tempfile.mkdtemp(dir=folder))
    (run / "run.json").write_text(json.dumps(plan), encoding="utf-8")
    (run / "script").write_text(f"gpus {gpus}\n", encoding="utf-8")
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "STANDIN_NVML": str(run / "script")}
    command = [sys.executable, "-m", "comfysoak_probes", str(run)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            time.sleep(SETTLE_S)
            began_s, cpu_s = time.monotonic(), _cpu_seconds(process.pid)
            time.sleep(seconds)
            share = (_cpu_seconds(process.pid) - cpu_s) / (time.monotonic() - began_s)
            return Cost(100 * share, psutil.Process(process.pid).memory_info().rss / 1e6)
        finally:
            process.send_signal(signal.SIGTERM)


def _cpu_seconds(pid: int) -> float:
    """CPU seconds of another process, in nanoseconds where /proc counts in hundredths."""
    return time.clock_gettime((~pid << 3) | SCHEDULER_CLOCK)

"""Open load on time: how late prompts leave at 1,000 a second, against a bare loop that sleeps.

The arrivals are whole: drawn, journalled, sent to a simulator in a process of its own, answered, their rows written.
They are prompts the server refuses at once, as no server runs a thousand in a second. Lateness is what the recording
says: left for the server minus scheduled. Locust runs as under `comfysoak run`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench_load import simulator
from benchmarks.figure import Figure
from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor, AnchoredClock
from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import WARMUP, Arrivals, Stage
from comfysoak_core.scenario.workload import Workload

ROOT = Path(__file__).parents[1]
BARE_LOOP = Path(__file__).parent / "load_files" / "bare_loop.py"
REFUSED = {"1": {"class_type": "NoSuchNode", "inputs": {"seed": 1}}}
RATE_PER_S = 1000.0
WARM_UP_S = 2.0
ROUNDS = 5
GOAL_RATIO = 1.5
NEVER_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of the moments of one run, in milliseconds."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, lateness_ns: list[int]) -> Lateness:
        """Exact percentiles."""
        cuts = statistics.quantiles(lateness_ns, n=100, method="inclusive")
        return cls(cuts[49] / 1e6, cuts[98] / 1e6)


def measure(*, full: bool) -> Iterator[Figure]:
    """Lateness at the 99th percentile, beside the loop's, in turn; and of one arrival in two."""
    seconds = 30.0 if full else 8.0
    ours: list[Lateness] = []
    bare: list[Lateness] = []
    with simulator() as server:
        for _ in range(ROUNDS):
            bare.append(_bare(seconds))
            ours.append(_ours(server, seconds))
    ratios = [own.p99_ms / other.p99_ms for own, other in zip(ours, bare, strict=True)]
    ratio = statistics.median(ratios)
    yield Figure(
        name=f"arrival lateness at {RATE_PER_S:,.0f} a second, p99",
        value=statistics.median(run.p99_ms for run in ours),
        unit="ms",
        goal=f"at most {GOAL_RATIO:g}x",
        met=ratio <= GOAL_RATIO,
        peer="a bare loop that sleeps",
        peer_value=statistics.median(run.p99_ms for run in bare),
        ratio=ratio,
        spread=f"{min(ratios):.2f}x..{max(ratios):.2f}x",
        runs=ROUNDS,
    )
    yield Figure(
        name="the same, p50",
        value=statistics.median(run.p50_ms for run in ours),
        unit="ms",
        peer="a bare loop that sleeps",
        peer_value=statistics.median(run.p50_ms for run in bare),
        ratio=statistics.median(own.p50_ms / other.p50_ms for own, other in zip(ours, bare, strict=True)),
        runs=ROUNDS,
    )


def _bare(seconds: float) -> Lateness:
    done = subprocess.run(
        [sys.executable, str(BARE_LOOP), str(RATE_PER_S), str(seconds)],
        capture_output=True, check=True, timeout=NEVER_WITHIN_S,
    )  # fmt: skip
    return Lateness.of(json.loads(done.stdout))


def _ours(server: str, seconds: float) -> Lateness:
    """One run of Locust by a plan of open load; what its recording says."""
    clock = AnchoredClock(Anchor.take())
    plan = Plan(
        name="arrivals",
        servers=(server,),
        workloads=(Workload(name="refused", graph=REFUSED, expected=Outcome.REJECTED),),
        stages=(_stage(WARM_UP_S, WARMUP), _stage(seconds, "load")),
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        recording = Recording.create(Path(folder), plan.name, clock=clock, plan=plan.model_dump(mode="json"))
        _run_locust(recording.path, clock, server)
        rows = recording.table("prompts", ["scheduled_ns", "sent_ns", "finished_ns"]).to_pylist()
        recording.release()
    if len(rows) != round(RATE_PER_S * (WARM_UP_S + seconds)):
        raise RuntimeError(f"{len(rows)} arrivals were recorded")
    # One that was not sent, as on a machine that is busy with other things, is late at least until it was given up.
    left_ns = [(row["sent_ns"] or row["finished_ns"]) - row["scheduled_ns"] for row in rows]
    return Lateness.of(left_ns[round(RATE_PER_S * WARM_UP_S) :])


def _stage(seconds: float, phase: str) -> Stage:
    arrivals = Arrivals(rate_per_s=Line.level(RATE_PER_S), process="constant")
    return Stage(duration_s=seconds, arrivals=arrivals, phase=phase)


def _run_locust(run_dir: Path, clock: AnchoredClock, server: str) -> None:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "comfyui.py"), "--host", server]
    command += ["--headless", "--only-summary", "--loglevel", "ERROR"]
    environment = {RUN_DIRECTORY_VARIABLE: str(run_dir), ANCHOR_VARIABLE: clock.anchor.to_environment()}
    done = subprocess.run(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=NEVER_WITHIN_S, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):  # 1: Locust's word for requests that failed
        raise RuntimeError(f"the load ended with {done.returncode}:\n{done.stderr[-2000:]}")

"""A plan held against fleets it has not seen: made from one server's recording, measured on two and on four.

Each server is a simulator in a process of its own; its nodes take their time by sleeping, so that the servers share
nothing that matters: what is checked is the model of queues, routes and models held, not this machine. Four
workflows with a model each, of which a server holds two at a time; their times vary from prompt to prompt. The figure
is how far the predicted p95 of latency is from the measured one. The prompts come at random moments (Poisson); the
plan is made for those very moments, as for a trace.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.figure import Figure
from comfysoak_analysis import open_run
from comfysoak_analysis.planning.check import Check, check
from comfysoak_analysis.planning.fleet import Fleet, Kind, Memory, serve
from comfysoak_analysis.planning.measured import measure as measured_of
from comfysoak_analysis.planning.times import Times
from comfysoak_analysis.planning.wish import read_wish
from comfysoak_core.scenario.routing import Route

ROOT = Path(__file__).parents[1]
GOAL = "prompts.latency.p95 < 30s"
GOAL_ERROR = 15.0  # per cent
FLEETS: tuple[tuple[int, Route, str], ...] = (  # servers, route, prompts a second: 60 to 80 % busy
    (2, "shortest-queue", "2.6/s"),
    (2, "round-robin", "2.3/s"),
    (2, "affinity", "2.4/s"),
    (4, "shortest-queue", "5.2/s"),
    (4, "round-robin", "4.6/s"),
    (4, "affinity", "4/s"),
)
ALONE = "1.1/s"
PROMPTS = 200_000
NEVER_WITHIN_S = 400.0
STEPS = {"a": (8, 12), "b": (11, 16), "c": (5, 8), "d": (15, 20)}  # of each workflow, from prompt to prompt
MODEL = "model-{name}.safetensors"
SCENARIO = """\
name: {name}
target: {{comfyui: {servers}, route: {route}}}
workload:
{workload}
load:
  - {{arrivals: {rate}, for: 8s, phase: warmup}}
  - {{arrivals: {rate}, for: {lasts}}}
probes: {{gpu: []}}
goals: ["{goal}"]
on_undecided: pass
seed: {seed}
"""
WORKLOAD = """\
  - workflow: {name}.json
    deadline: 120s
    vary: {{seed: random, inputs: {{3.steps: {{from: {low}, to: {high}}}}}}}
"""
TARGET = """\
target:
  embedded:
    gpu: {{name: Virtual GPU 16 GiB, memory: 16 GiB, load_bandwidth: 32 GiB}}
    models: {models}
    costs:
      KSampler: {{seconds: "0.04 * {{steps}}", vram: 1 GiB}}  # one sleep: each wakes up late
      VAEDecode: {{seconds: 20ms, vram: 512 MiB}}
workload: [{{workflow: a.json}}]
load: [{{users: 1, for: 1s}}]
"""


def measure(*, full: bool) -> Iterator[Figure]:
    """The error for each fleet, the worst of them, and how fast the simulation is."""
    lasts, rounds = ("240s", 2) if full else ("60s", 1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, simulators(4) as servers:
        folder = Path(name)
        alone = record(folder, servers[:1], "round-robin", ALONE, "400s" if full else "180s", 100)
        measured = measured_of([open_run(alone)])
        for count, route, rate in FLEETS if full else FLEETS[:1] + FLEETS[2:5]:
            wish = read_wish(GOAL, measured.names)
            runs = [record(folder, servers[:count], route, rate, lasts, seed) for seed in range(1, rounds + 1)]
            checks = [check(measured, open_run(run), wish) for run in runs]
            yield _figure(count, route, [one for one in checks if one is not None])
    yield _speed()


def _figure(servers: int, route: Route, checks: Sequence[Check]) -> Figure:
    error = statistics.median(100 * abs(one.error) for one in checks)
    return Figure(
        name=f"plan, {servers} servers, {route} ({100 * checks[0].utilisation:.0f} % busy): error of p95",
        value=error,
        unit="%",
        goal=f"at most {GOAL_ERROR:g} %",
        met=error <= GOAL_ERROR,
        spread=", ".join(f"{one.predicted_s:.2f} s for {one.measured_s:.2f} s" for one in checks),
        runs=len(checks),
    )


def _speed() -> Figure:
    """Of the queues alone, on the dearest route."""
    numbers = np.random.default_rng(1)
    one = Times(numbers.uniform(0.5, 1.5, 2_000), np.zeros(2_000))
    kinds = [Kind(one, one.times(2), need) for need in (0, 1)]
    due_s = np.cumsum(numbers.exponential(1 / 6, PROMPTS))
    began = time.perf_counter()
    serve(due_s, numbers.integers(0, 2, PROMPTS), Fleet(8, "shortest-queue", Memory((1.0, 1.0), 1.0)), kinds)
    took_s = time.perf_counter() - began
    return Figure(f"plan, {PROMPTS:,} prompts simulated on 8 servers", took_s, "s", "at most 2 s", took_s <= 2)


def record(folder: Path, servers: Sequence[str], route: Route, rate: str, lasts: str, seed: int) -> Path:
    """A run against these servers, and where its recording is."""
    name = f"{route}-{len(servers)}-{seed}"
    write_workflows(folder)
    workload = "".join(WORKLOAD.format(name=one, low=low, high=high) for one, (low, high) in STEPS.items())
    scenario = folder / f"{name}.yaml"
    scenario.write_text(
        SCENARIO.format(name=name, servers=json.dumps([*servers]), route=route, rate=rate, lasts=lasts, goal=GOAL,
                        seed=seed, workload=workload)
    )  # fmt: skip
    command = [sys.executable, "-m", "comfysoak", "run", str(scenario), "--quiet", "--out", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=NEVER_WITHIN_S, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the run {name} ended with {done.returncode}:\n{done.stdout}{done.stderr[-2000:]}")
    (run,) = (folder / name).iterdir()
    return run


def write_workflows(folder: Path) -> None:
    """A workflow for each of `STEPS`, with a model of its own."""
    graph = json.loads((ROOT / "scenarios" / "workflows" / "sdxl.json").read_text())
    for name in STEPS:
        inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
        inputs["CheckpointLoaderSimple"]["ckpt_name"] = MODEL.format(name=name)
        inputs["EmptyLatentImage"] |= {"width": 64, "height": 64}  # pictures are made by work, which would be shared
        (folder / f"{name}.json").write_text(json.dumps(graph))


@contextmanager
def simulators(count: int) -> Iterator[list[str]]:
    """So many servers, each in a process of its own; their base URLs."""
    models = json.dumps({f"checkpoints/{MODEL.format(name=name)}": "6.5 GiB" for name in STEPS})
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        write_workflows(Path(name))
        target = Path(name) / "target.yaml"
        target.write_text(TARGET.format(models=models))
        yield [stack.enter_context(_simulator(target)) for _ in range(count)]


@contextmanager
def _simulator(target: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "comfysoak", "sim", str(target), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield str(json.loads(process.stdout.readline())["servers"][0])
    finally:
        process.terminate()
        process.wait(10)

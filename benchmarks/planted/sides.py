"""Five runs against five, of a target that is as fast as before, or 10 % slower, at a run-to-run spread of 3 %.

Each run is one of its own: 20 minutes of two workflows under closed load, all of whose work is a little faster or
slower by a factor drawn for the run. There is a store of 150 runs of each speed, from which each case draws its ten:
cases share runs, so a share over cases is known a little less well than its number of cases says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.planted.drawing import draw, known_workflow, steady
from benchmarks.planted.recording import record
from benchmarks.planted.seeds import OF_SIDES, seed_of
from benchmarks.planted.world import World
from comfysoak_analysis.compare import Conclusion, RunSummary, compare, summarise
from comfysoak_analysis.frames import open_run

RUNS: Final = 5
SPREAD: Final = 0.03
SLOWER: Final = 0.10
PROCESSES: Final = 2
STORE: Final = 150  # runs of each speed


@dataclass(frozen=True, slots=True)
class Sides:
    """How often runs that were `slower` by so much were called worse."""

    slower: float
    cases: int
    worse: int
    undecided: int


def summary_of(seed: int, slower: float) -> RunSummary:
    """One run, made and read; with `is_worse` all that knows the interface of the comparison."""
    factor = float(np.exp(SPREAD * np.random.default_rng(seed).standard_normal()) * (1 + slower))
    with tempfile.TemporaryDirectory() as folder:
        return summarise(open_run(record(run_of(seed, factor), Path(folder) / "run")))


def is_worse(old: Sequence[RunSummary], new: Sequence[RunSummary]) -> Conclusion:
    """What the comparison says of these runs."""
    return compare(old, new).conclusion


def run_of(seed: int, factor: float) -> World:
    """One run whose work takes `factor` times as long; the hardware is the same for all."""
    flows = (known_workflow(0, 0.6), known_workflow(1, 0.6))
    world = draw(seed, "side", measured_s=1200.0, warmup_s=90.0, workflows=flows, load=steady(3.0), gpu=1,
                 gpu_every_s=2.0, every_s=5.0, watchers=2)  # fmt: skip
    world.noise = 0.03
    world.script.speed.append(lambda _server, _at, _flow: factor)
    return world


def rehearse(salt: str, *, share: float = 1.0) -> list[Sides]:
    """Both questions, with as many seeds; runs are drawn from a store of them, no run twice within one case."""
    runs, count = max(2 * RUNS, round(STORE * share)), max(2, round(OF_SIDES * share))
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        before, slower = (
            list(pool.map(summary_of, [seed_of(salt, f"side/{by:g}", number) for number in range(runs)], [by] * runs))
            for by in (0.0, SLOWER)
        )
    return [_sides(salt, SLOWER, count, before, slower), _sides(salt, 0.0, count, before, before)]


def _sides(salt: str, by: float, count: int, old: Sequence[RunSummary], new: Sequence[RunSummary]) -> Sides:
    told = []
    for number in range(count):
        chosen = np.random.default_rng(seed_of(salt, f"sides/{by:g}", number)).permutation(len(old))[: 2 * RUNS]
        told.append(is_worse([old[one] for one in chosen[:RUNS]], [new[one] for one in chosen[RUNS:]]))
    worse = sum(one is Conclusion.REGRESSION for one in told)
    return Sides(by, count, worse, count - worse - sum(one is Conclusion.NO_REGRESSION for one in told))


def markdown(sides: Iterable[Sides]) -> str:
    """The table as the manual has it."""
    rows = ["| five runs against five | seeds | called worse | could not tell |", "|---|---|---|---|"]
    for one in sides:
        what = f"{100 * one.slower:.0f} % slower" if one.slower else "equally fast"
        rows.append(f"| {what}, spread 3 % | {one.cases} | {one.worse} | {one.undecided} |")
    return "\n".join(rows)

"""Five runs against five, of a target that is as fast as before, or 10 % slower, at a run-to-run spread of 3 %.

Each run is one of its own: 20 minutes of two workflows under closed load, all of whose work is a little faster or
slower by a factor drawn for the run.
"""

from __future__ import annotations

import shutil
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
from comfysoak_analysis.compare import Conclusion, compare, summarise
from comfysoak_analysis.frames import open_run

RUNS: Final = 5
SPREAD: Final = 0.03
SLOWER: Final = 0.10
PROCESSES: Final = 2


@dataclass(frozen=True, slots=True)
class Sides:
    """How often runs that were `slower` by so much were called worse."""

    slower: float
    cases: int
    worse: int
    undecided: int


def is_worse(old: Sequence[Path], new: Sequence[Path]) -> Conclusion:
    """What the comparison says of these runs; the one place that knows its interface."""
    return compare([summarise(open_run(path)) for path in old], [summarise(open_run(path)) for path in new]).conclusion


def run_of(seed: int, factor: float) -> World:
    """One run whose work takes `factor` times as long; the hardware is the same for all."""
    flows = (known_workflow(0, 0.6), known_workflow(1, 0.6))
    world = draw(seed, "side", measured_s=1200.0, warmup_s=90.0, workflows=flows, load=steady(3.0), gpu=1,
                 gpu_every_s=2.0, every_s=5.0, watchers=2)  # fmt: skip
    world.noise = 0.03
    world.script.speed.append(lambda _server, _at, _flow: factor)
    return world


def one_case(slower: float, seed: int) -> Conclusion:
    """Ten runs, judged."""
    numbers = np.random.default_rng(seed)
    folder = Path(tempfile.mkdtemp())
    try:
        factors = np.exp(SPREAD * numbers.standard_normal(2 * RUNS)) * np.repeat([1.0, 1 + slower], RUNS)
        paths = [
            record(run_of(int(numbers.integers(2**62)), float(factor)), folder / str(number))
            for number, factor in enumerate(factors)
        ]
        return is_worse(paths[:RUNS], paths[RUNS:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rehearse(salt: str, *, share: float = 1.0) -> list[Sides]:
    """Both questions, with as many seeds."""
    count = OF_SIDES if share >= 1 else max(2, round(OF_SIDES * share))
    found = []
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for slower in (SLOWER, 0.0):
            name = f"sides/{slower:g}"
            seeds = [seed_of(salt, name, number) for number in range(count)]
            told = list(pool.map(one_case, [slower] * count, seeds))
            worse = sum(one is Conclusion.REGRESSION for one in told)
            unsure = sum(one not in {Conclusion.REGRESSION, Conclusion.NO_REGRESSION} for one in told)
            found.append(Sides(slower, count, worse, unsure))
    return found


def markdown(sides: Iterable[Sides]) -> str:
    """The table as the manual has it."""
    rows = ["| five runs against five | seeds | called worse | could not tell |", "|---|---|---|---|"]
    for one in sides:
        what = f"{100 * one.slower:.0f} % slower" if one.slower else "equally fast"
        rows.append(f"| {what}, spread 3 % | {one.cases} | {one.worse} | {one.undecided} |")
    return "\n".join(rows)

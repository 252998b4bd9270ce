"""The knee by the Universal Scalability Law: where it is, how sure that is, and where none was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.figure import Figure
from benchmarks.known_truth.rates import Rate, counted, tally
from comfysoak_analysis.saturation import of_steps
from comfysoak_analysis.saturation.steps import Step
from comfysoak_analysis.statistics.scalability import scalability
from comfysoak_analysis.statistics.series import Floats

CASES, RUNS = 1000, 150
LOADS = np.array([1.0, 2, 4, 8, 16, 24, 32, 48, 64])
LAMBDA, SIGMA, KAPPA = 10.0, 0.05, 0.0008
TRUTH = math.sqrt((1 - SIGMA) / KAPPA)  # 34.5
NEAR = 0.01  # statistics.md: 34.7 for 34.5
BLOCK_S = 10
NOISE = 0.02
STEPS = ((60, 0.02), (60, 0.05), (20, 0.02))  # how long each lasts, and by how much speed wanders


def rates(share: float) -> Iterator[Rate | Figure]:
    """Through single figures with 2 % of noise, then through steps of a minute, second by second."""
    yield _middle(max(round(CASES * share), 20))
    yield counted("knee, falsely told: steps end at 24 of 34.5", CASES * share, partial(_noisy, steps=6), _told,
                  at_most=0.01)  # fmt: skip
    for lasts_s, wander in STEPS:
        yield from _of_runs(lasts_s, wander, RUNS * share)


def _of_runs(lasts_s: int, wander: float, cases: float) -> Iterator[Rate]:
    """Nine steps, whose speed wanders by so much."""
    of = f"knee of steps of {lasts_s} s whose speed wanders by {100 * wander:g} %"
    told = tally(of, cases, partial(_steps, per_s=_by_law(LOADS), lasts_s=lasts_s, wander=wander), _holds)
    found = told.total() - told[None]
    yield Rate(f"{of}, found", found, told.total())
    if found:
        yield Rate(f"{of}, in its 95 % interval", told[True], found)
    level = tally(of, cases, partial(_steps, per_s=np.minimum(3 * LOADS, 10), lasts_s=lasts_s, wander=wander), _holds)
    yield Rate(f"{of}, falsely told of a plateau", level.total() - level[None], level.total())


def _by_law(loads: Floats) -> Floats:
    return LAMBDA * loads / (1 + SIGMA * (loads - 1) + KAPPA * loads * (loads - 1))


def _noisy(drawn: np.random.Generator, steps: int) -> Floats:
    return np.asarray(_by_law(LOADS[:steps]) * (1 + NOISE * drawn.standard_normal(steps)))


def _told(per_s: Floats) -> bool:
    found = scalability(LOADS[: per_s.size], per_s)
    return found is not None and found.knee is not None


def _middle(cases: int) -> Figure:
    laws = [scalability(LOADS, _noisy(np.random.default_rng([11, number]), LOADS.size)) for number in range(cases)]
    knees = [law.knee for law in laws if law is not None and law.knee is not None]
    low, middle, high = (float(one) for one in np.quantile(knees, (0.025, 0.5, 0.975)))
    return Figure(f"knee, the median of those told, for {TRUTH:.1f} users", middle, "users",
                  f"within {100 * NEAR:g} %", abs(middle / TRUTH - 1) <= NEAR,
                  spread=f"95 % of them: {low:.1f} to {high:.1f}; told in {len(knees)}", runs=cases)  # fmt: skip


def _steps(drawn: np.random.Generator, per_s: Floats, lasts_s: int, wander: float) -> tuple[Step, ...]:
    """Successes of each second: as many as the server did, whose speed is another one every ten seconds."""
    found = []
    for load, rate in zip(LOADS, per_s, strict=True):
        speed = np.repeat(1 + wander * drawn.standard_normal(lasts_s // BLOCK_S), BLOCK_S)
        ends = np.floor(np.cumsum(rate * speed))
        stays_s = float(load / rate)
        found.append(Step(float(load), None, np.diff(ends, prepend=0.0), stays_s, 1.5 * stays_s))
    return tuple(found)


def _holds(steps: tuple[Step, ...]) -> bool | None:
    """Whether the interval holds the truth; None where no knee was told."""
    found = of_steps(steps)
    return found.knee.low <= TRUTH <= found.knee.high if found is not None and found.knee is not None else None

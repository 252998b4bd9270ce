"""What steps of load say: the peak of throughput, the knee if it was reached, and where latency begins to climb."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.frames import Run
from comfysoak_analysis.saturation.plot import Plot, load_text, plot
from comfysoak_analysis.saturation.steps import Step, load_steps
from comfysoak_analysis.statistics.rates import Interval
from comfysoak_analysis.statistics.scalability import FEWEST_LOADS, Scalability, scalability

RESAMPLES, BLOCK_S, FEWEST_BLOCKS = 200, 10, 4
SEEN_IN = 0.975  # of the resamples: a knee seen in fewer is not observed
CLIMBS = 1.5  # times the median latency of the lowest step
LEVEL = 0.9  # of the best step: throughput that has not grown by more than the rest has levelled off


@dataclass(frozen=True, slots=True)
class Saturation:
    """Steps from the lowest load to the highest, and the law through them; `knee` None: not observed.

    `calm_load` is the highest step before latency climbs over 1.5 times that of the lowest, `climbs_at` the next.
    """

    unit: str
    steps: tuple[Step, ...]
    law: Scalability
    knee: Interval | None
    calm_load: float
    climbs_at: float | None
    sentences: tuple[str, ...]
    plot: Plot


def saturation(run: Run) -> Saturation | None:
    """What the steps of load of a run say; None as of `of_steps`."""
    return of_steps(load_steps(run))


def of_steps(steps: tuple[Step, ...]) -> Saturation | None:
    """Of steps from the lowest load up; None of fewer than four, or where the highest is not twice the lowest."""
    if len(steps) < FEWEST_LOADS or steps[-1].load < 2 * steps[0].load:
        return None
    loads = np.array([step.load for step in steps])
    law = scalability(loads, np.array([step.per_s for step in steps]))
    if law is None:
        return None
    knee = _knee(steps, loads) if law.knee is not None else None
    if knee is None:
        law = Scalability(law.lambda_, law.sigma, law.kappa, None, max(step.per_s for step in steps))
    calm, climbs = _climb(steps)
    unit = "users" if steps[0].offered_per_s is None else "prompts at the target"
    told = tuple(_sentences(steps, law, knee, unit, calm, climbs))
    return Saturation(unit, steps, law, knee, calm, climbs, told, plot(steps, law, unit))


def _knee(steps: tuple[Step, ...], loads: np.ndarray, seed: int = 1) -> Interval | None:
    """The 95 % interval of the knee, over blocks of each step's seconds drawn anew; None where many have none."""
    drawn = np.random.default_rng(seed)
    blocks = [_blocks(step) for step in steps]
    found = []
    for _ in range(RESAMPLES):
        rates = np.array([_redrawn(one, drawn) for one in blocks])
        law = scalability(loads, rates)
        if law is not None and law.knee is not None:
            found.append(law.knee)
    if len(found) < SEEN_IN * RESAMPLES:
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return Interval(float(low), float(high))


def _blocks(step: Step) -> np.ndarray:
    """Successes a second in blocks of 10 s, or in quarters where there are fewer than four of them."""
    count = max(int(step.held_s // BLOCK_S), FEWEST_BLOCKS)
    starts = np.arange(count) * step.succeeded.size // count
    return np.asarray(np.add.reduceat(step.succeeded, starts) / np.diff([*starts, step.succeeded.size]))


def _redrawn(blocks: np.ndarray, drawn: np.random.Generator) -> float:
    """Their mean, drawn anew: as far off as means of so few are, and not only as draws from them are."""
    mean, anew = float(blocks.mean()), float(blocks[drawn.integers(0, blocks.size, blocks.size)].mean())
    return max(mean + (anew - mean) * math.sqrt(blocks.size / (blocks.size - 1)), 0.0)


def _climb(steps: tuple[Step, ...]) -> tuple[float, float | None]:
    """The last step before latency climbs, and the first where it has."""
    for before, step in itertools.pairwise(steps):
        if step.p50_s > CLIMBS * steps[0].p50_s:
            return before.load, step.load
    return steps[-1].load, None


def _sentences(
    steps: tuple[Step, ...], law: Scalability, knee: Interval | None, unit: str, calm: float, climbs: float | None
) -> Iterator[str]:
    best = max(steps, key=lambda step: step.per_s)
    if knee is not None and law.knee is not None:
        yield (
            f"The knee lies at {load_text(law.knee, unit)} (95 % interval {knee.low:.3g} to {knee.high:.3g}): "
            f"throughput peaks there at {60 * law.peak:,.3g} prompts a minute, and falls beyond it."
        )
    else:
        yield (
            f"A knee, beyond which throughput falls, was not observed up to {load_text(steps[-1].load, unit)}. The "
            f"most was {60 * best.per_s:,.3g} prompts a minute, at {best.load:.3g}; {_growth(steps)}"
        )
    least = f"that of {load_text(steps[0].load, unit)}"
    if climbs is None:
        yield f"Median latency stayed within {CLIMBS:g} times {least} all the way."
    else:
        yield (
            f"Median latency climbs over {CLIMBS:g} times {least} ({steps[0].p50_s:.3g} s) between {calm:.3g} and "
            f"{load_text(climbs, unit)}."
        )


def _growth(steps: tuple[Step, ...]) -> str:
    """Whether it still grows."""
    top = steps[-1]
    half = [step for step in steps if step.load <= top.load / 1.5]
    if half and max(step.per_s for step in half) >= LEVEL * top.per_s:
        level = next(step for step in steps if step.per_s >= LEVEL * max(one.per_s for one in steps))
        return f"it has levelled off from {level.load:.3g} on, where more load only waits longer."
    return "it still grew there: try more load to see its limit."

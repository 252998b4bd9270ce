"""`run --ab`: pairs of blocks of prompts that queue, at a speed that wanders, in the order old, new, new, old."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.known_truth.queues import waits_s
from benchmarks.known_truth.rates import Rate, counted
from comfysoak_analysis.compare.blocks import gated
from comfysoak_analysis.compare.comparison import Standing
from comfysoak_analysis.compare.gates import DEFAULT_GATES
from comfysoak_analysis.statistics.series import Floats

CASES = 800
FALSE = 0.05  # of three gates together, by Holm
BUSY, FAILED, SPREAD = 0.6, 0.01, 0.25
LEFT_OUT = 6  # a sixth of each block counts for nothing


@dataclass(frozen=True, slots=True)
class Course:
    """How the speed of both servers wanders: by `spread`, as AR(1) from prompt to prompt, and `drift` over the run."""

    remembers: float
    spread: float
    drift: float = 0.0

    def slowness(self, drawn: np.random.Generator, size: int) -> Floats:
        """A factor for each prompt of the run, in order."""
        from scipy.signal import lfilter

        by, news = self.remembers, drawn.standard_normal(size)
        news[0] /= math.sqrt(1 - by**2)  # it began long before
        wave = lfilter([math.sqrt(1 - by**2)], [1, -by], news)
        return np.asarray(np.exp(self.spread * wave + math.log1p(self.drift) * np.linspace(0, 1, size)))


Values = list[list[tuple[float, float]]]
COURSES = (Course(0.0, 0.03), Course(0.9, 0.05), Course(0.99, 0.05), Course(0.999, 0.1))


def rates(share: float) -> Iterator[Rate]:
    """All courses together: false, false while all drifts, found."""
    for pairs, prompts in ((6, 40), (8, 40), (8, 100), (12, 40), (36, 100)):
        of = f"--ab, {pairs} pairs of {prompts} prompts"
        for what, slower, drift in (
            ("false", 0.0, 0.0),
            ("false, 30 % drift", 0.0, 0.3),
            ("5 % slower found", 0.05, 0.0),
            ("10 % slower found", 0.1, 0.0),
        ):
            draw = partial(_blocks, pairs=pairs, prompts=prompts, slower=slower, drift=drift)
            yield counted(f"{of}: {what}", CASES * share, draw, _is_worse, at_most=None if slower else FALSE)


def _is_worse(values: Values) -> bool:
    return any(row.standing is Standing.WORSE for row in gated(DEFAULT_GATES, values))


def _blocks(drawn: np.random.Generator, pairs: int, prompts: int, slower: float, drift: float) -> Values:
    """The values of the gates in the old and the new block of each pair."""
    chosen = COURSES[int(drawn.integers(len(COURSES)))]
    course = Course(chosen.remembers, chosen.spread, drift)
    slowness = course.slowness(drawn, 2 * pairs * prompts).reshape(2 * pairs, prompts)
    is_new = np.tile((False, True, True, False), (pairs + 1) // 2)[: 2 * pairs]
    services_s = drawn.lognormal(0, SPREAD, (pairs, prompts)).repeat(2, axis=0) * slowness
    services_s *= np.where(is_new, 1 + slower, 1.0)[:, None]
    between_s = drawn.exponential(1 / BUSY, (pairs, prompts - 1)).repeat(2, axis=0)  # both begin with the same
    counted_from = prompts // LEFT_OUT
    latencies_s = (waits_s(services_s, between_s) + services_s)[:, counted_from:]
    failed = drawn.random(latencies_s.shape) < FAILED
    by_block = {
        "prompts.failed": failed.mean(axis=1),
        "prompts.latency.p95": np.quantile(latencies_s, 0.95, axis=1),
        "prompts.typical_service": np.median(services_s[:, counted_from:], axis=1),
    }
    told = [by_block[gate.measure.name] for gate in DEFAULT_GATES]
    return [list(zip(of[~is_new].tolist(), of[is_new].tolist(), strict=True)) for of in told]

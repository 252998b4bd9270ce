"""How often an interval that says 95 % holds the truth, and limits of a chart that say one in a hundred are passed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.known_truth.rates import Rate, counted
from comfysoak_analysis.statistics.comparison import control, paired_ratio, ratio
from comfysoak_analysis.statistics.rates import rate_at_most, rate_interval
from comfysoak_analysis.statistics.series import Floats

CASES = 2000
HELD = 0.93
SLOWER, SPREAD = 0.1, 0.03
CHART_P = 0.01


def rates(share: float) -> Iterator[Rate]:
    """Of rates of failures (which a report tells with two ends, or as 'at most' where there was none), and effects."""
    for expected in (0.3, 1.0, 3.2, 10.0, 40.0):
        name = f"interval of a rate, {expected:g} failures expected: holds it"
        draw, says = partial(_failures, expected=expected), partial(_holds_rate, expected=expected)
        yield counted(name, CASES * share, draw, says, at_least=HELD)
    for runs in (5, 8):
        name = f"interval of an effect, {runs} runs against {runs}: holds it"
        yield counted(name, CASES * share, partial(_sides, runs=runs), _holds_ratio, at_least=HELD)
    yield counted("interval of an effect, 8 pairs of blocks: holds it", CASES * share, partial(_sides, runs=8),
                  _holds_paired, at_least=HELD)  # fmt: skip
    for nights in (8, 20, 30):
        name = f"chart, beyond its limit of p 0.01 by chance, {nights} nights"
        yield counted(name, 2 * CASES * share, partial(_nights, count=nights), _is_beyond, at_most=2 * CHART_P)


def _failures(drawn: np.random.Generator, expected: float) -> int:
    return int(drawn.poisson(expected))


def _holds_rate(count: int, expected: float) -> bool:
    if not count:
        return expected <= rate_at_most(1.0)
    found = rate_interval(count, 1.0)
    return found.low <= expected <= found.high


def _sides(drawn: np.random.Generator, runs: int) -> tuple[Floats, Floats]:
    """With freak values."""
    old, new = (np.exp(SPREAD * drawn.standard_t(3, runs) + math.log1p(by)) for by in (0.0, SLOWER))
    return old, new


def _holds_ratio(sides: tuple[Floats, Floats]) -> bool:
    found = ratio(*sides)
    return found.low <= 1 + SLOWER <= found.high


def _holds_paired(sides: tuple[Floats, Floats]) -> bool:
    found = paired_ratio(*sides)
    return found.low <= 1 + SLOWER <= found.high


def _nights(drawn: np.random.Generator, count: int) -> Floats:
    """So many, and one more."""
    return drawn.standard_normal(count + 1)


def _is_beyond(nights: Floats) -> bool:
    return control(nights[:-1], nights[-1:], p=CHART_P).p_above < CHART_P

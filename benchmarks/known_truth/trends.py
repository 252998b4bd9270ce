"""Kendall's test within strata: false trends in what only swings, and trends that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.known_truth.rates import Rate, counted, tally
from benchmarks.known_truth.series import day_and_night, remembering, sawtooth
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.statistics.trend import trend

SURE_P, USUAL_P = 0.01, 0.05
FALSE = 0.04  # statistics.md: what it gave when it was chosen
CASES = 300

Draw = Callable[[np.random.Generator], Floats]


def _sawing(drawn: np.random.Generator, fewest: float, most: float) -> Floats:
    return sawtooth(drawn, 800, drawn.uniform(fewest, most), uneven=drawn.choice((0.02, 0.3)))


def _by_day(drawn: np.random.Generator) -> Floats:
    return day_and_night(drawn, 800, 5) + remembering(drawn, 800, 0.7)


_MEMORY: tuple[tuple[str, Draw], ...] = (
    ("sawtooth of 3 to 10 teeth", partial(_sawing, fewest=3, most=10)),
    ("sawtooth of 10 to 100 teeth", partial(_sawing, fewest=10, most=100)),
    ("AR(1) 0.9, 1,000 points", partial(remembering, size=1000, by=0.9)),
    ("AR(1) 0.7 with freak values, 500 points", partial(remembering, size=500, by=0.7, freaks=True)),
    ("5 days and nights", _by_day),
)
_RISES: tuple[tuple[str, Draw], ...] = (
    ("half a tooth under 20", lambda drawn: sawtooth(drawn, 800, 20) + np.linspace(0, 0.5, 800)),
    ("1 deviation in AR(1) 0.7, 500 points", lambda drawn: remembering(drawn, 500, 0.7) + np.linspace(0, 1, 500)),
    ("2 deviations in 48 independent points", lambda drawn: drawn.standard_normal(48) + np.linspace(0, 2, 48)),
)


def rates(share: float) -> Iterator[Rate]:
    """False at p 0.01 (and 0.05), then found."""
    for name, draw in _MEMORY:
        yield counted(f"trend, false: {name}", CASES * share, draw, _moves, at_most=FALSE)
    for size in (1000, 200, 48):
        yield from _both(size, (2000 if size < 500 else CASES) * share)
    yield counted("trend, false: the mix shifts, within workflows", CASES * share, _in_a_shifting_mix, _is_sure,
                  at_most=FALSE)  # fmt: skip
    for name, draw in _RISES:
        yield counted(f"trend, found: {name}", CASES * share, draw, _moves)


def _both(size: int, cases: float) -> Iterator[Rate]:
    of = f"trend, false: AR(1) 0.7, {size:,} points"
    told = tally(of, cases, partial(remembering, size=size, by=0.7), lambda values: _step(_p(values)))
    yield Rate(of, told[SURE_P], told.total(), at_most=FALSE)
    yield Rate(f"{of}, at p 0.05", told[SURE_P] + told[USUAL_P], told.total())


def _moves(values: Floats) -> bool:
    return _is_sure(_p(values))


def _is_sure(p: float) -> bool:
    return p <= SURE_P


def _step(p: float) -> float:
    """The strictest of both limits that it is below."""
    return next((limit for limit in (SURE_P, USUAL_P) if p <= limit), 1.0)


def _p(values: Floats, strata: np.ndarray | None = None) -> float:
    found = trend(np.arange(values.size) * 10.0, values, strata)
    return found.p if found is not None else 1.0


def _in_a_shifting_mix(drawn: np.random.Generator) -> float:
    """The p of two workflows, one five times as slow, whose share goes from a tenth to nine tenths; both remember."""
    slow = drawn.random(500) < np.linspace(0.1, 0.9, 500)
    values = np.where(slow, 10.0, 2.0) * (1 + 0.1 * remembering(drawn, 500, 0.7))
    return _p(values, slow)

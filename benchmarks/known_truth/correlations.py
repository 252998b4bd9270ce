"""What goes with what: lagged correlation of changes, and lift of events in a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.known_truth.rates import Rate, counted, tally
from benchmarks.known_truth.series import bursts, remembering, sawtooth, spikes, wandering
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.statistics.together import lagged, lift

CASES = 500
SURE_P = 0.01
FALSE_LAG, FALSE_LIFT, FOUND_LIFT = 0.01, 0.03, 0.75  # statistics.md
POINTS, BUCKETS, LAG = 600, 1200, 3

Pair = tuple[Floats, Floats]


def rates(share: float) -> Iterator[Rate]:
    """False, then found: of correlations, then of lifts. All at p 0.01."""
    for name, alone, goal in _ALONE:
        draw = partial(_two_of, alone=alone)
        yield counted(f"lagged correlation, false: {name}", CASES * share, draw, _goes_together, at_most=goal)
    told = tally("lagged correlation, found", CASES * share, _following, _lag)
    found = told.total() - told[None]
    yield Rate("lagged correlation, found: 0.5, 3 s late", found, told.total())
    yield Rate("lagged correlation, lag told exactly, of those found", told[LAG], found)
    for name, unrelated in _UNRELATED:
        yield counted(f"lift, false: {name}", CASES * share, unrelated, _lifted, at_most=FALSE_LIFT)
    for events, ratio in ((9, 40.0), (60, 5.0), (20, 5.0)):
        name = f"lift, found: {events} events at {ratio:g} times the rate"
        goal = FOUND_LIFT if events == 60 else None
        yield counted(name, CASES * share, partial(_drawn_to_it, events=events, ratio=ratio), _lifted, at_least=goal)


_ALONE: tuple[tuple[str, Callable[[np.random.Generator], Floats], float | None], ...] = (
    ("noise", lambda drawn: drawn.standard_normal(POINTS), FALSE_LAG),
    ("AR(1) 0.9", lambda drawn: remembering(drawn, POINTS, 0.9), FALSE_LAG),
    ("random walks", lambda drawn: wandering(drawn, POINTS), FALSE_LAG),
    ("trends", lambda drawn: np.linspace(0, 30, POINTS) + drawn.standard_normal(POINTS), FALSE_LAG),
    ("four spikes each", lambda drawn: spikes(drawn, POINTS, 4), FALSE_LAG),
    ("bursts", lambda drawn: bursts(drawn, POINTS), FALSE_LAG),
    ("freak values", lambda drawn: drawn.standard_t(1.5, POINTS), FALSE_LAG),
    ("saws", lambda drawn: sawtooth(drawn, POINTS, 20), FALSE_LAG),
    ("two saws of one period", lambda drawn: sawtooth(drawn, POINTS, 30, uneven=0.02), None),
)


def _following(drawn: np.random.Generator) -> Pair:
    """Half of what moves the second is what moved the first three seconds before."""
    news = drawn.standard_normal(POINTS)
    return np.cumsum(news), np.cumsum(0.5 * np.roll(news, LAG) + np.sqrt(0.75) * drawn.standard_normal(POINTS))


def _two_of(drawn: np.random.Generator, alone: Callable[[np.random.Generator], Floats]) -> Pair:
    return alone(drawn), alone(drawn)


def _goes_together(pair: Pair) -> bool:
    return _lag(pair) is not None


def _lag(pair: Pair) -> int | None:
    found = lagged(1.0, *pair, 5.0)
    return round(found.lag_s) if found is not None and found.p <= SURE_P else None


def _state(drawn: np.random.Generator, share: float, spans: int) -> Floats:
    """1 in so large a share of the buckets, in spans of up to twice `spans`."""
    found = np.zeros(BUCKETS)
    while found.mean() < share:
        begin = int(drawn.integers(0, BUCKETS))
        found[begin : begin + 1 + int(drawn.integers(0, 2 * spans))] = 1
    return found


def _single(drawn: np.random.Generator, events: int) -> Floats:
    return np.bincount(drawn.integers(0, BUCKETS, events), minlength=BUCKETS).astype(float)


def _bursts(drawn: np.random.Generator, bursts_: int, events: int) -> Floats:
    """Events that come together within 20 buckets."""
    begins = np.repeat(drawn.integers(0, BUCKETS - 20, bursts_), events)
    return np.bincount(begins + drawn.integers(0, 20, begins.size), minlength=BUCKETS).astype(float)


_UNRELATED: tuple[tuple[str, Callable[[np.random.Generator], Pair]], ...] = (
    ("10 single events", lambda drawn: (_single(drawn, 10), _state(drawn, 0.05, 10))),
    ("100 single events", lambda drawn: (_single(drawn, 100), _state(drawn, 0.05, 10))),
    ("3 bursts of 5", lambda drawn: (_bursts(drawn, 3, 5), _state(drawn, 0.05, 10))),
    ("10 bursts of 10, long spans", lambda drawn: (_bursts(drawn, 10, 10), _state(drawn, 0.1, 30))),
    ("one burst against one span", lambda drawn: (_bursts(drawn, 1, 10), _state(drawn, 0.05, 30))),
)


def _drawn_to_it(drawn: np.random.Generator, events: int, ratio: float) -> Pair:
    state = _state(drawn, 0.05, 10)
    weights = 1 + (ratio - 1) * state
    places = drawn.choice(BUCKETS, events, p=weights / weights.sum())
    return np.bincount(places, minlength=BUCKETS).astype(float), state


def _lifted(pair: Pair) -> bool:
    found = lift(*pair)
    return found is not None and found.p <= SURE_P and found.ratio > 1

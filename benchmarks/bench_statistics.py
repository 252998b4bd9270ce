"""Error rates of the statistical methods where the truth is known: false alarms, what is found, what intervals hold.

No peer, and no time: rates. Each is measured through the functions that findings, goals and comparisons use, on series,
queues and runs made for it (`benchmarks/known_truth`), with fixed seeds; its spread is its own exact 95 % interval.
Without FULL=1 a seventh of the cases: enough to see that nothing is broken. The manual quotes the full ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.figure import Figure
from benchmarks.known_truth import (
    blocks,
    changes,
    correlations,
    goals,
    intervals,
    knees,
    leaks,
    runs,
    trends,
    warm_ups,
)
from benchmarks.known_truth.rates import Rate

SMALL: Final = 1 / 7
METHODS: Final = (trends, leaks, warm_ups, changes, correlations, knees, goals, runs, blocks, intervals)


def measure(*, full: bool = False) -> Iterator[Figure]:
    """A figure for each rate, method by method."""
    for method in METHODS:
        for found in method.rates(1.0 if full else SMALL):
            yield found.figure() if isinstance(found, Rate) else found

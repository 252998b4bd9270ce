"""A step in the mean: told where there is none, and found where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.known_truth.rates import Rate, counted
from benchmarks.known_truth.series import remembering, sawtooth
from comfysoak_analysis.statistics.change import change
from comfysoak_analysis.statistics.series import Floats

CASES = 300
FALSE, FOUND = 0.02, 0.73  # statistics.md: none of its series, and 73 %; at p 0.01 one in a hundred is none's fault


def rates(share: float) -> Iterator[Rate]:
    """At p 0.01."""
    for name, draw in (
        ("AR(1) 0.7", partial(remembering, size=500, by=0.7)),
        ("AR(1) 0.9", partial(remembering, size=1000, by=0.9)),
        ("AR(1) 0.7 with freak values", partial(remembering, size=500, by=0.7, freaks=True)),
        ("20 teeth", partial(sawtooth, size=600, teeth=20)),
    ):
        yield counted(f"change, false: {name}", 2 * CASES * share, draw, _told, at_most=FALSE)
    for step in (1.0, 1.5):
        name = f"change, found: a step of {step:g} in AR(1) 0.7"
        yield counted(name, CASES * share, partial(_stepping, step=step), _told, at_least=FOUND)


def _stepping(drawn: np.random.Generator, step: float) -> Floats:
    return remembering(drawn, 500, 0.7) + step * (np.arange(500) > 200)


def _told(values: Floats) -> bool:
    found = change(np.arange(values.size) * 10.0, values)
    return found is not None and found.p <= 0.01

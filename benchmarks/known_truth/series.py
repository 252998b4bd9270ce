"""What load tests record, with nothing in it: series that remember, saw, swing by day and night, and have freak values.

Each has a standard deviation, or a height, of about 1.
"""

from __future__ import annotations

import math

import numpy as np

from comfysoak_analysis.statistics.series import Floats

_SETTLING = 400  # points before the first: series begin in the middle of what they remember
_ROUGH = 0.05  # noise on the teeth of a saw


def remembering(drawn: np.random.Generator, size: int, by: float, *, freaks: bool = False) -> Floats:
    """AR(1): each point is `by` of the one before and news; `freaks`: news with the tails of Student's t of 3."""
    from scipy.signal import lfilter

    count = size + _SETTLING
    news = drawn.standard_t(3, count) / math.sqrt(3) if freaks else drawn.standard_normal(count)
    found: Floats = lfilter([math.sqrt(1 - by**2)], [1, -by], news)[_SETTLING:]
    return found


def sawtooth(drawn: np.random.Generator, size: int, teeth: float, uneven: float = 0.3) -> Floats:
    """Memory that fills and is let go; teeth differ by `uneven` in length, and by two thirds of that in height."""
    count = 3 * math.ceil(teeth) + 9
    lengths = (size / teeth * np.clip(drawn.normal(1.0, uneven, count), 0.2, 3)).astype(int).clip(3)
    heights = np.clip(drawn.normal(1.0, uneven / 1.5, count), 0.3, 2)
    found = np.concatenate([height * np.arange(long) / long for long, height in zip(lengths, heights, strict=True)])
    start = int(drawn.integers(0, lengths[0]))
    return np.asarray(found[start : start + size] + _ROUGH * drawn.standard_normal(size))


def day_and_night(drawn: np.random.Generator, size: int, days: float) -> Floats:
    """A wave of so many days, from any hour on."""
    return np.asarray(math.sqrt(2) * np.sin(2 * np.pi * (np.arange(size) / size * days + drawn.random())))


def wandering(drawn: np.random.Generator, size: int) -> Floats:
    """A random walk."""
    return np.cumsum(drawn.standard_normal(size))


def spikes(drawn: np.random.Generator, size: int, count: int) -> Floats:
    """Level, with a few points far off."""
    found = _ROUGH * drawn.standard_normal(size)
    found[drawn.integers(0, size, count)] += 5
    return found


def bursts(drawn: np.random.Generator, size: int) -> Floats:
    """Noise that is loud for minutes and then quiet."""
    return np.asarray(drawn.standard_normal(size) * np.exp(remembering(drawn, size, 0.95)))

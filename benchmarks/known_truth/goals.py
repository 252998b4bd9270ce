"""Goals whose truth lies exactly at their limit: how often they are called missed, or met, though nobody can know.

A percentile is decided as goals decide it, by how slow prompts cluster; beside it stands what counting each would say.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.known_truth.queues import Queue
from benchmarks.known_truth.rates import Rate, counted, tally
from comfysoak_analysis.binomial import Side, side_of
from comfysoak_analysis.statistics.rates import rate_interval
from comfysoak_analysis.statistics.series import Floats, cases_alike

CASES = 300
MISSED = 0.1  # 5 % is asked for; a busy server may take twice that, and the manual says so
LONG = 2_000_000  # prompts whose percentile is taken for the truth
UNLIKELY, UNLIKELY_LATER = 0.05, 0.001  # at the end, and while a run goes on
LOOKS = 60


def rates(share: float) -> Iterator[Rate]:
    """Of percentiles, by how busy the server is, then of a rate of failures that is looked at again and again."""
    for percentile, size in ((0.5, 1000), (0.95, 100), (0.95, 1000), (0.95, 5000), (0.99, 1000)):
        yield from _at_limit(f"p{100 * percentile:g} of {size:,} independent", Queue(0.0), percentile, size, share)
    for busy in (0.3, 0.6, 0.8, 0.9):
        for size in (300, 1000, 5000):
            yield from _at_limit(f"p95 of {size:,}, {100 * busy:g} % busy", Queue(busy), 0.95, size, share)
    for size in (1000, 5000):
        yield from _at_limit(f"p95 of {size:,}, 60 % busy, heavy-tailed", Queue(0.6, heavy=True), 0.95, size, share)
    yield from _at_limit("p95 of 5,000, 20 to 80 % busy by day", Queue(0.5, day=0.3), 0.95, 5000, share)
    for servers in (2, 4, 8):
        for size in (1000, 4000):
            yield from _at_limit(f"p95 of {size:,} on {servers} servers in turn, 70 % busy", Queue(0.7, servers), 0.95,
                                 size, share)  # fmt: skip
    for unlikely in (UNLIKELY_LATER, UNLIKELY):
        name = f"goal at its limit, missed: rate of failures, looked at {LOOKS} times at {unlikely:g}"
        goal = 0.01 if unlikely == UNLIKELY_LATER else None
        yield counted(name, 4 * CASES * share, _failures, partial(_ever_missed, unlikely=unlikely), at_most=goal)


def _at_limit(name: str, queue: Queue, percentile: float, size: int, share: float) -> Iterator[Rate]:
    limit_s = _truth_s(queue, percentile, size)
    says = partial(_sides, limit_s=limit_s, share=1 - percentile)
    told = tally(name, CASES * share, partial(queue.latencies_s, size=size), says)
    for side, said in ((Side.ABOVE, "missed"), (Side.BELOW, "met")):
        hits, plain_hits = (sum(count for sides, count in told.items() if sides[place] is side) for place in (0, 1))
        yield Rate(f"goal at its limit, {said}: {name}", hits, told.total(), MISSED if side is Side.ABOVE else None,
                   plain="each counted", plain_hits=plain_hits)  # fmt: skip


def _truth_s(queue: Queue, percentile: float, size: int) -> float:
    """The percentile behind all such runs: of one long one, or of many where a run is a whole day."""
    drawn = np.random.default_rng(3)
    runs = LONG // size if queue.day else 1
    return float(np.quantile([queue.latencies_s(drawn, LONG // runs) for _ in range(runs)], percentile))


def _sides(latencies_s: Floats, limit_s: float, share: float) -> tuple[Side, Side]:
    over = latencies_s >= limit_s
    hits = int(np.count_nonzero(over))
    clustered = side_of(hits, over.size, share, UNLIKELY, cases_alike(over))
    return clustered.side, side_of(hits, over.size, share, UNLIKELY).side


def _failures(drawn: np.random.Generator) -> Floats:
    """When each came, in hours: one an hour on average, and no more than that is the goal."""
    return np.cumsum(drawn.exponential(1.0, LOOKS))


def _ever_missed(hours: Floats, unlikely: float) -> bool:
    return any(rate_interval(count, float(at), 1 - unlikely).low > 1.0 for count, at in enumerate(hours, 1))

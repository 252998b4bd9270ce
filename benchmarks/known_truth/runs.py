"""Runs against runs, of which the truth is known: false regressions, and slowdowns that are found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.known_truth.rates import Rate, counted
from benchmarks.known_truth.series import remembering
from comfysoak_analysis.compare import Conclusion, RunSummary, compare
from comfysoak_analysis.compare.facts import Facts
from comfysoak_analysis.compare.summary import Figure as Measured

CASES = 1000
PROMPTS, FAILED = 1000, 0.002
FALSE, FOUND = 0.01, 0.95  # the issue: of 5 against 5, at a spread of 3 %
SIDES = ((5, 5), (4, 4), (8, 3), (8, 1), (20, 1), (30, 1), (20, 2))  # old runs, new ones

Sides = tuple[list[RunSummary], list[RunSummary]]


@dataclass(frozen=True, slots=True)
class Nights:
    """How runs differ though nothing changed: by `spread` all measures together, by `own` each for itself.

    `remember`: AR(1) from run to run. `odd`: the share of old
    runs in which something else made all a sixth slower. `new_spread`: that of the new side.
    """

    spread: float = 0.03
    new_spread: float | None = None
    own: float = 0.005
    remember: float = 0.0
    odd: float = 0.0

    def sides(self, drawn: np.random.Generator, old: int, new: int, slower: float) -> Sides:
        """So many runs a side, the new ones `slower`."""
        spreads = np.repeat((self.spread, self.spread if self.new_spread is None else self.new_spread), (old, new))
        logs = spreads * (remembering(drawn, old + new, self.remember) if self.remember
                          else drawn.standard_normal(old + new))  # fmt: skip
        logs[:old] += np.where(drawn.random(old) < self.odd, math.log(7 / 6), 0.0)
        logs[old:] += math.log1p(slower)
        runs = [self._run(drawn, number, float(log)) for number, log in enumerate(logs)]
        return runs[:old], runs[old:]

    def _run(self, drawn: np.random.Generator, number: int, log: float) -> RunSummary:
        latency, service = (math.exp(log + self.own * drawn.standard_normal()) for _ in range(2))
        figures = (
            Measured("prompts.latency.p95", 5 * latency, PROMPTS),
            Measured("prompts.typical_service", service, PROMPTS),
            Measured("prompts.failed", float(drawn.binomial(PROMPTS, FAILED)) / PROMPTS, PROMPTS),
        )
        return RunSummary(f"run-{number}", str(number), 0, 600.0, Facts(), figures)


def rates(share: float) -> Iterator[Rate]:
    """Alike, 10 % slower, 20 % slower; then runs that differ in ways a test does not know of."""
    for old, new in SIDES:
        issue = (old, new) == (5, 5)
        yield _rate("false", Nights(), old, new, 0.0, CASES * share, at_most=FALSE if issue else 0.02)
        yield _rate("10 % slower found", Nights(), old, new, 0.1, CASES * share, at_least=FOUND if issue else None)
        yield _rate("20 % slower found", Nights(), old, new, 0.2, CASES * share / 4)
    for spread, new_spread in ((0.01, 0.06), (0.03, 0.10)):
        for old, new in ((5, 5), (8, 3)):
            what = f"false, spreads of {100 * spread:g} and {100 * new_spread:g} %"
            yield _rate(what, Nights(spread, new_spread), old, new, 0.0, CASES * share)
    for besides, nights in (
        ("each measure varies for itself", Nights(spread=0.0, own=0.03)),
        ("runs remember, AR(1) 0.5", Nights(remember=0.5)),
        ("one old run in 12 a sixth slower", Nights(odd=1 / 12)),
    ):
        for old, new in ((5, 5), (8, 1), (20, 1)):
            yield _rate(f"false, {besides}", nights, old, new, 0.0, CASES * share)
    yield _rate("20 % slower found, one old run in 12 a sixth slower", Nights(odd=1 / 12), 20, 1, 0.2, CASES * share)


def _rate(
    what: str,
    nights: Nights,
    old: int,
    new: int,
    slower: float,
    cases: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Rate:
    name = f"compare, {new} against {old}: {what}"
    draw = partial(nights.sides, old=old, new=new, slower=slower)
    return counted(name, cases, draw, _is_worse, at_most=at_most, at_least=at_least)


def _is_worse(sides: Sides) -> bool:
    return compare(*sides).conclusion is Conclusion.REGRESSION

"""Planted truth: recordings with known truth, and how much of it the analysis finds. See `docs/planted.md`.

No peer: nothing else reads these recordings. Without FULL=1 a few seeds a code, 22 clean runs, and no comparisons: a
share of so few says that nothing is broken, the table in the manual is from all seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.figure import Figure
from benchmarks.planted import sides
from benchmarks.planted.cases import cases
from benchmarks.planted.judging import Judged
from benchmarks.planted.seeds import FINAL
from benchmarks.planted.suite import lines, run_cases

SMALL: Final = 0.05
GOAL_FOUND = 0.95
GOAL_ALARMED = 0.01


def measure(*, full: bool = False) -> Iterator[Figure]:
    """Shares found, clean runs with an alarm, and what it takes to judge a recording."""
    judged = list(run_cases(cases(FINAL, share=1.0 if full else SMALL)))
    for group, what in (("code", "codes, the one found least"), ("leak", "leaks of 5 MiB/h, the kind found least")):
        yield _least_found([one for one in judged if one.case.group == group], what)
    pairs = lines(one for one in judged if one.case.group == "pair")[0]
    yield Figure("planted pairs: codes found", pairs.share, "of those planted", runs=pairs.seeds)
    clean = [one for one in judged if one.case.group == "clean"]
    alarmed = sum(one.is_alarmed or bool(one.error) for one in clean) / len(clean)
    yield Figure("clean runs with an alarm", alarmed, "of them", "<= 0.01", alarmed <= GOAL_ALARMED, runs=len(clean))
    yield Figure(
        "judging a planted recording", sum(one.judged_s for one in judged) / len(judged), "s", runs=len(judged)
    )
    if full:
        yield from _sides()


def _least_found(judged: list[Judged], what: str) -> Figure:
    rows = sorted(lines(judged), key=lambda row: row.share)
    spread = f"{rows[0].name}: {rows[0].found} of {rows[0].found + rows[0].missed}"
    found, count = rows[0].share, sum(row.seeds for row in rows)
    return Figure(f"planted {what}", found, "of its seeds", ">= 0.95", found >= GOAL_FOUND, spread=spread, runs=count)


def _sides() -> Iterator[Figure]:
    for one in sides.rehearse(FINAL):
        share = one.worse / one.cases
        if one.slower:
            goal, met = ">= 0.95", share >= GOAL_FOUND
            what = f"{100 * one.slower:.0f} % slower, five runs against five"
        else:
            goal, met, what = "<= 0.01", share <= GOAL_ALARMED, "equally fast, five runs against five"
        yield Figure(f"called worse: {what}", share, "of its seeds", goal, met, runs=one.cases)

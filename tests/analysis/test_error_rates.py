"""A fixed sample of the error rates that the manual quotes (`benchmarks/known_truth`), and how sure each is."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from types import ModuleType

import pytest

from benchmarks.__main__ import parts
from benchmarks.bench_statistics import METHODS
from benchmarks.known_truth import blocks, changes, correlations, intervals
from benchmarks.known_truth.rates import Rate

QUICK = (blocks, changes, correlations, intervals)
FIRST = 2  # of the others


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__.rpartition(".")[2])
def test_no_method_misses_its_goal_by_more_than_chance(method: ModuleType) -> None:
    """Twenty cases of each rate show that a method is broken; names tell rates apart."""
    told = islice(method.rates(0.0), None if method in QUICK else FIRST)
    found = [one.figure() if isinstance(one, Rate) else one for one in told]
    assert found
    assert len({one.name for one in found}) == len(found)
    assert [one.name for one in found if one.met is False] == []
    assert all(one.runs >= 20 and "95 %" in one.spread for one in found if one.unit == "%")
    assert json.dumps([asdict(one) for one in found])  # as it is written
    assert "statistics" in parts("")


@pytest.mark.parametrize(
    ("rate", "interval", "met"),
    [
        (Rate("", 0, 300, at_most=0.01), (0.0, 0.0122), True),
        (Rate("", 5, 300, at_most=0.01), (0.0054, 0.0385), None),
        (Rate("", 12, 300, at_most=0.01), (0.0208, 0.0688), False),
        (Rate("", 20, 20, at_least=0.95), (0.8316, 1.0), True),
        (Rate("", 18, 20, at_least=0.95), (0.6830, 0.9877), None),
        (Rate("", 10, 20, at_least=0.95), (0.2720, 0.7280), False),
        (Rate("", 10, 20), (0.2720, 0.7280), None),
    ],
)
def test_a_rate_is_as_sure_as_its_cases(rate: Rate, interval: tuple[float, float], met: bool | None) -> None:
    """Clopper and Pearson's interval; a goal is missed only where the whole interval lies beyond it."""
    assert rate.interval == pytest.approx(interval, abs=5e-5)
    assert rate.met is met

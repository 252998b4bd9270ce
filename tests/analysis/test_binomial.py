"""Exact binomial tails, and what they decide."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfysoak_analysis.binomial import Side, at_least, at_most, side_of


def by_definition(hits: int, cases: int, share: float) -> float:
    """The sum that `at_most` stands for."""
    return math.fsum(math.comb(cases, k) * share**k * (1 - share) ** (cases - k) for k in range(hits + 1))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 120), st.data())
def test_tails_are_exact(cases: int, data: st.DataObject) -> None:
    """Both tails agree with the definition to twelve digits."""
    hits = data.draw(st.integers(0, cases))
    share = data.draw(st.floats(0.001, 0.999))
    assert at_most(hits, cases, share) == pytest.approx(by_definition(hits, cases, share), rel=1e-9, abs=1e-12)
    assert at_least(hits, cases, share) == pytest.approx(1 - by_definition(hits - 1, cases, share), rel=1e-6, abs=1e-9)


def test_millions_of_cases_are_no_trouble() -> None:
    """At its mean a binomial of five million is half below."""
    assert at_most(50_000, 5_000_000, 0.01) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("hits", "cases", "limit", "side"),
    [
        (0, 298, 0.01, Side.UNKNOWN),
        (0, 299, 0.01, Side.BELOW),  # 0.99 ** 299 is just under 5 %
        (3, 38, 0.01, Side.ABOVE),
        (1, 38, 0.01, Side.UNKNOWN),
        (0, 58, 0.05, Side.UNKNOWN),
        (0, 59, 0.05, Side.BELOW),
        (0, 0, 0.05, Side.UNKNOWN),
        (0, 1, 0.0, Side.BELOW),
        (1, 1000, 0.0, Side.ABOVE),
        (5, 10, 1.0, Side.BELOW),
    ],
)
def test_sides(hits: int, cases: int, limit: float, side: Side) -> None:
    """A limit is passed only when chance would hardly do it."""
    assert side_of(hits, cases, limit).side is side


@pytest.mark.parametrize(("hits", "cases", "limit"), [(0, 37, 0.01), (1, 400, 0.01), (2, 38, 0.01), (0, 10, 0.05)])
def test_how_many_more_is_right(hits: int, cases: int, limit: float) -> None:
    """With that many more at the same share it is decided."""
    more = side_of(hits, cases, limit).more_cases
    assert more is not None
    assert side_of(round(hits / cases * (cases + more)), cases + more, limit).side is not Side.UNKNOWN


def test_at_the_limit_no_number_is_enough() -> None:
    """A share that is the limit cannot be told from it."""
    assert side_of(10, 1000, 0.01).more_cases is None


def test_cases_that_are_alike_count_for_fewer() -> None:
    """As many of as few decide nothing; of whole cases nothing changes."""
    assert side_of(8, 100, 0.04).side is Side.ABOVE
    assert side_of(80, 1000, 0.04, alike=50).side is Side.UNKNOWN
    assert side_of(80, 1000, 0.04, alike=10).side is Side.ABOVE
    more = side_of(80, 1000, 0.04, alike=50).more_cases
    assert more is not None
    assert side_of(round(0.08 * (1000 + more)), 1000 + more, 0.04, alike=50).side is Side.ABOVE

"""The statistics of comparisons against values computed by hand and by other programs, and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from comfysoak_analysis.statistics.comparison import (
    chance_of_hits,
    control,
    difference,
    holm,
    paired_difference,
    paired_ratio,
    paired_test,
    paired_test_reaches,
    rank_test,
    rank_test_reaches,
    ratio,
)


@pytest.mark.parametrize(
    ("first", "second", "both", "greater"),
    [
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 2 / 252, 1 / 252),
        ((1, 2, 3, 4, 6), (5, 7, 8, 9, 10), 4 / 252, 2 / 252),
        ((1, 2, 3), (4, 5, 6), 2 / 20, 1 / 20),
        ((4, 5, 6), (1, 2, 3), 2 / 20, 1.0),
        ((1,), (2,), 1.0, 0.5),
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), 1.0, 1.0),
        ((0, 0, 0, 0, 0), (0, 0, 0, 1, 2), 112 / 252, 56 / 252),
        ((), (1, 2), 1.0, 1.0),
    ],
)
def test_a_rank_test_is_exact(first: tuple[float, ...], second: tuple[float, ...], both: float, greater: float) -> None:
    """Its p is a count of the ways to deal the ranks, ties included."""
    assert rank_test(first, second) == pytest.approx(both)
    assert rank_test(first, second, greater=True) == pytest.approx(greater)


def test_many_values_are_tested_by_the_normal_approximation() -> None:
    """Beyond sixty values the answer stays what it was at sixty, nearly."""
    numbers = np.random.default_rng(4)
    first, second = numbers.normal(0, 1, 30), numbers.normal(0.6, 1, 30)
    exact = rank_test(first, second, greater=True)
    assert rank_test([*first, *first], [*second, *second], greater=True) < exact < 0.05
    assert rank_test([*first, first[0]], second, greater=True) == pytest.approx(exact, rel=0.5)
    assert paired_test([*(second - first), *(second - first), 1.0], greater=True) < 0.05
    assert difference([*first, *first], second).confidence == 0.95
    assert paired_difference([*first, *first, *first]).confidence == 0.95
    assert rank_test([1.0] * 40, [1.0] * 40) == 1.0


@pytest.mark.parametrize(
    ("differences", "both", "greater"),
    [((1, 2, 3, 4, 5, 6), 2 / 64, 1 / 64), ((-1, 2, 3, 4, 5, 6), 4 / 64, 2 / 64), ((0, 0), 1.0, 1.0), ((), 1.0, 1.0)],
)
def test_a_paired_test_is_exact(differences: tuple[float, ...], both: float, greater: float) -> None:
    """Its p is a count of the ways the signs can fall; pairs without a difference say nothing."""
    assert paired_test(differences) == pytest.approx(both)
    assert paired_test(differences, greater=True) == pytest.approx(greater)


def test_what_a_test_can_reach_is_what_the_clearest_case_gives() -> None:
    """So that too few runs are known to be too few before anybody looks at them."""
    assert rank_test_reaches(4, 3) == pytest.approx(rank_test((1, 2, 3, 4), (5, 6, 7), greater=True))
    assert paired_test_reaches(6) == pytest.approx(paired_test((1, 2, 3, 4, 5, 6), greater=True))
    assert rank_test_reaches(0, 3) == 1.0


def test_an_interval_says_what_it_holds() -> None:
    """Five against five give 95 %; fewer values give less, and one against one gives nothing."""
    assert ratio((1.0,) * 5, (2.0,) * 5).ratio == pytest.approx(2.0)
    assert difference((1, 2, 3), (4, 5, 6)).confidence == pytest.approx(0.9)
    assert difference((1,), (2,)).confidence == 0
    with pytest.raises(ValueError, match="both sides"):
        difference((), (1,))
    with pytest.raises(ValueError, match="at least one pair"):
        paired_difference(())


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """In a thousand draws each, of runs and of pairs."""
    numbers = np.random.default_rng(11)
    held = paired = 0
    for _ in range(1000):
        first, second = np.exp(numbers.normal(0, 0.03, 5)), np.exp(numbers.normal(0.1, 0.03, 5))
        held += ratio(first, second).low <= math.exp(0.1) <= ratio(first, second).high
        found = paired_ratio(np.exp(numbers.normal(0, 0.03, 8)), np.exp(numbers.normal(0.1, 0.03, 8)))
        paired += found.low <= math.exp(0.1) <= found.high
    assert 945 <= held <= 990
    assert 940 <= paired <= 985


def test_several_questions_at_once_cost_what_holm_says() -> None:
    """The smallest p counts as often as there are questions, the next once less, and none below one before it."""
    assert holm((0.01, 0.04, 0.03)) == pytest.approx((0.03, 0.06, 0.06))
    assert holm(()) == ()
    assert holm((0.9, 0.8)) == (1.0, 1.0)
    assert holm((math.nan, 0.01)) == (1.0, 0.02)


def test_one_freak_night_does_not_widen_the_limits() -> None:
    """What lies far from all others is left out and named; when much does, nothing is left out."""
    quiet = [1.0, 1.01, 0.99, 1.02, 0.98, 1.0, 1.01, 0.99, 1.0]
    freak = control([*quiet, 3.0], [1.2], p=0.0033)
    assert freak.left_out == (9,)
    assert freak.p_above < 0.0001
    assert freak.high < 1.1
    assert control([*quiet, 3.0, 3.1, 2.9, 3.2], [1.2], p=0.0033).left_out == ()


def test_a_history_without_any_spread_still_decides() -> None:
    """By chance alone where that is known, else by any change at all."""
    assert control([0.0] * 8, [0.02], p=0.01).p_above == 0.0
    assert control([0.0] * 8, [0.0], p=0.01).p_above == 1.0
    assert control([0.0] * 8, [0.02], p=0.01, least_spread=0.01).p_above > 0.05


def test_a_chart_rarely_alarms_on_nothing() -> None:
    """Beyond limits of p = 0.01 about one new run in a hundred falls, from eight runs of history on."""
    numbers = np.random.default_rng(5)
    for runs in (8, 20):
        alarms = sum(
            control(numbers.normal(0, 1, runs), numbers.normal(0, 1, 1), p=0.01).p_above < 0.01 for _ in range(3000)
        )
        assert alarms / 3000 < 0.018


@pytest.mark.parametrize(
    ("seen", "chance"),
    [((0, 600, 0, 60), 1.0), ((0, 600, 1, 60), 60 / 661), ((0, 1, 1, 1), 1 / 3), ((5, 10, 11, 10), 0.0)],
)
def test_the_first_failure_after_none_is_judged_by_its_chance(seen: tuple[int, int, int, int], chance: float) -> None:
    """By Laplace's rule: after none in 600 the next one fails with one in 602."""
    assert chance_of_hits(*seen) == pytest.approx(chance, abs=1e-9)

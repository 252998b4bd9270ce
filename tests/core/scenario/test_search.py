"""The search for capacity, with servers that hold up to a known load."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.scenario.search import TRIALS_MOST, Found, Search


def searched(search: Search, holds: Callable[[float], bool]) -> list[float]:
    """The levels tried against a server that holds what `holds` says."""
    levels = []
    while search.next is not None:
        levels.append(search.next.level)
        search.judge(held=holds(search.next.level), sure=True)
    return levels


def test_up_by_doubling_then_by_halves_then_once_more() -> None:
    """A server for eleven users is found in eight trials, and the eleven are held twice."""
    search = Search(low=1, high=64, whole=True)
    assert searched(search, lambda users: users <= 11) == [1, 2, 4, 8, 16, 11, 13, 12, 11]
    assert search.found == Found(highest_held=11, lowest_broke=12, monotonic=True, sure=True)


def test_the_lowest_level_breaks() -> None:
    """Then nothing held, and nothing more is tried."""
    search = Search(low=2, high=64, whole=True)
    assert searched(search, lambda _: False) == [2]
    assert search.found == Found(highest_held=None, lowest_broke=2, monotonic=True, sure=True)


def test_the_highest_level_holds() -> None:
    """Then the capacity is at least that, and what broke is not known."""
    search = Search(low=1, high=10, whole=True)
    assert searched(search, lambda _: True) == [1, 2, 4, 8, 10, 10]
    assert search.found == Found(highest_held=10, lowest_broke=None, monotonic=True, sure=True)


@given(st.floats(0.1, 200), st.floats(0.02, 0.5))
def test_a_rate_is_found_within_the_share_asked_for(capacity: float, within: float) -> None:
    """Whatever the true capacity, the two sides enclose it and are close."""
    search = Search(low=0.1, high=300, within=within, whole=False)
    searched(search, lambda rate: rate <= capacity)
    found = search.found
    assert found.highest_held is not None
    assert found.lowest_broke is not None
    assert found.highest_held <= capacity < found.lowest_broke <= found.highest_held * (1 + within) * (1 + 1e-9)


@given(st.integers(1, 5), st.integers(1, 400), st.integers(1, 400))
def test_whole_levels_are_found_exactly_or_within_a_tenth(low: int, span: int, capacity: int) -> None:
    """Users are counted: no level is tried between two neighbours, none twice but the last."""
    search = Search(low=low, high=low + span, whole=True)
    levels = searched(search, lambda users: users <= capacity)
    assert all(level == int(level) and low <= level <= low + span for level in levels)
    assert len(set(levels[:-1])) == len(levels[:-1])
    if low <= capacity < low + span:
        found = search.found
        assert found.highest_held is not None
        assert found.highest_held <= capacity < (found.lowest_broke or 0)


@given(st.lists(st.booleans(), min_size=TRIALS_MOST, max_size=TRIALS_MOST))
def test_a_server_of_moods_ends_the_search_all_the_same(moods: list[bool]) -> None:
    """Whatever the answers, the search ends, and what it calls held lies below what it calls broken."""
    search = Search(low=1, high=1000, whole=True)
    answers = iter(moods)
    searched(search, lambda _: next(answers))
    found = search.found
    if found.highest_held is not None and found.lowest_broke is not None:
        assert found.highest_held < found.lowest_broke


def test_a_level_that_does_not_hold_again_is_not_the_capacity() -> None:
    """The second hold of the highest level breaks: the search goes on below it, and a clean line it is not."""
    search = Search(low=1, high=8, whole=True)
    answers = iter([True, True, True, True, False, True, True])
    levels = searched(search, lambda _: next(answers, True))
    assert levels[:5] == [1, 2, 4, 8, 8]
    assert search.found.lowest_broke == 8
    assert search.found.highest_held is not None
    assert not search.found.monotonic


def test_not_sure_at_the_line_is_said() -> None:
    """Too few prompts at the highest level that held: the result is what was seen, no more."""
    search = Search(low=1, high=2, whole=True)
    search.judge(held=True, sure=False)
    search.judge(held=False, sure=True)
    search.judge(held=True, sure=False)
    assert search.next is None
    assert search.found == Found(highest_held=1, lowest_broke=2, monotonic=True, sure=False)


def test_levels_that_make_no_sense_are_refused() -> None:
    """From above to below there is nothing to search."""
    with pytest.raises(ValueError, match="expected 0 < low <= high"):
        Search(low=5, high=2, whole=True)

"""What comes nearly in order of time, put into order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.trace import order
from comfysoak_core.trace.lines import TraceLine
from comfysoak_core.trace.order import TooLateError, in_order


def lines(times: list[float], size_bytes: int = 1) -> list[TraceLine]:
    return [TraceLine(number, time_s, None, None, size_bytes) for number, time_s in enumerate(times, 1)]


@given(st.lists(st.floats(0, 100), max_size=50))
def test_what_fits_the_window_is_sorted(times: list[float]) -> None:
    """Within the window all come by time, and equals as they stood."""
    expected = sorted(lines(times), key=lambda line: line.time_s)
    assert list(in_order(lines(times))) == expected


def test_what_is_out_of_place_by_more_is_refused() -> None:
    """A line that belongs before one already passed on is told."""
    assert [line.time_s for line in in_order(lines([2, 3, 4, 1, 5]), 3)] == [1, 2, 3, 4, 5]
    with pytest.raises(TooLateError) as refused:
        list(in_order(lines([2, 3, 4, 5, 1]), 3))
    assert isinstance(refused.value.what, TraceLine)
    assert refused.value.what.number == 5


def test_the_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large lines fewer are held."""
    monkeypatch.setattr(order, "WINDOW_BYTES", 100)
    numbers = random.Random(1)
    given = iter(lines([10 * step + numbers.random() for step in range(20)], size_bytes=60))
    passed_on = in_order(given)
    next(passed_on)
    assert len(list(given)) == 18

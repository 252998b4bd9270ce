"""The shapes of load: level, amount and moment of each agree with one another."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfysoak_core.scenario.curve import Curve, Line, Spike, Steps, Wave
from comfysoak_core.scenario.written.section import Users
from comfysoak_core.scenario.written.stages import Levels

LASTS_S = 120.0
LEVELS = st.floats(min_value=0, max_value=50)
CURVES = st.one_of(
    st.builds(Line, start=LEVELS, end=LEVELS),
    st.builds(Steps, start=LEVELS, end=LEVELS, count=st.integers(2, 9)),
    st.builds(Spike, base=LEVELS, top=LEVELS, every_s=st.floats(20, 200), lasts_s=st.floats(1, 19)),
    st.builds(Wave, low=LEVELS, high=LEVELS, period_s=st.floats(10, 400)),
)


@given(CURVES, st.floats(0, LASTS_S))
def test_the_amount_is_the_integral_of_the_level(curve: Curve, until_s: float) -> None:
    """Summed up in small steps, the level gives the amount."""
    steps = 4000
    width = until_s / steps
    summed = sum(curve.at((index + 0.5) * width, LASTS_S) for index in range(steps)) * width
    assert curve.amount(until_s, LASTS_S) == pytest.approx(summed, rel=0.01, abs=0.05 + 10 * width * curve.highest)


@given(CURVES, st.floats(0, 1, exclude_max=True))
@example(Line(start=5e-324, end=0.5), 5e-324)
@example(Line(start=0.5, end=5e-324), 0.9999999)
def test_the_moment_is_when_the_amount_is_reached(curve: Curve, share: float) -> None:
    """Moment and amount are each other's inverse."""
    amount = share * curve.amount(LASTS_S, LASTS_S)
    moment_s = curve.moment(amount, LASTS_S)
    if moment_s is not None:
        assert 0 <= moment_s <= LASTS_S
        assert curve.amount(moment_s, LASTS_S) == pytest.approx(amount, rel=1e-6, abs=1e-6)


@given(CURVES)
def test_no_moment_after_the_end(curve: Curve) -> None:
    """More than there is of it is never reached."""
    assert curve.moment(curve.amount(LASTS_S, LASTS_S) + 1, LASTS_S) is None


@given(CURVES, st.floats(0, LASTS_S))
def test_the_highest_is_never_exceeded(curve: Curve, at_s: float) -> None:
    """What is planned for is enough at any moment."""
    assert -1e-9 <= curve.at(at_s, LASTS_S) <= curve.highest + 1e-9


@pytest.mark.parametrize(
    ("written", "levels"),
    [
        ({"from": 1, "to": 5}, {0: 1, 60: 3, 119: 4.97}),
        ({"from": 10, "to": 50, "steps": 3}, {0: 10, 39: 10, 41: 30, 81: 50, 119: 50}),
        ({"base": 4, "spike": 40, "lasts": "10s", "every": "60s"}, {0: 4, 29: 4, 31: 40, 41: 4, 95: 40}),
        ({"base": 4, "spike": 40, "lasts": "10s"}, {59: 4, 61: 40, 71: 4}),
        ({"low": 2, "high": 40, "wave": "2m"}, {0: 2, 60: 40, 119: 2.03}),
    ],
)
def test_written_shapes(written: dict[str, object], levels: dict[float, float]) -> None:
    """A stage of two minutes, as people write it."""
    curve = Levels[Users].model_validate(written).curve(LASTS_S)
    assert {at_s: curve.at(at_s, LASTS_S) for at_s in levels} == pytest.approx(levels, abs=0.05)


@pytest.mark.parametrize("written", [{}, {"from": 1}, {"from": 1, "to": 2, "wave": "1h"}, {"base": 1, "spike": 2}])
def test_half_a_shape_is_refused(written: dict[str, object]) -> None:
    """The error shows every form there is."""
    with pytest.raises(ValueError, match="from: 10, to: 50, steps: 5"):
        Levels[Users].model_validate(written)


def test_scaled_users_are_whole_and_nobody_is_rounded_away() -> None:
    """One user of forty is still one of four."""
    assert Spike(base=1, top=40, every_s=9, lasts_s=1).scaled(0.1, whole=True) == Spike(
        base=1, top=4, every_s=9, lasts_s=1
    )


def test_many_steps_cost_no_more_than_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arrival's moment is found without a look at each plateau before it: a thousand would make it late."""
    asked = 0
    level = Steps._level

    def counted(self: Steps, number: int) -> float:
        nonlocal asked
        asked += 1
        return level(self, number)

    monkeypatch.setattr(Steps, "_level", counted)
    Steps(start=1, end=1000, count=1000).moment(1e6, 3600.0)
    assert asked < 200

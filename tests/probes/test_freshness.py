"""How often an exporter has news: learned early, and right where few values move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_probes.dcgm.freshness import IDLE_POLL_S, Freshness
from comfysoak_probes.dcgm.series import Identity, Reading

Values = Callable[[float], dict[str, float]]  # what is exported at a moment
MOVING = ("power", "clock", "used")


def refreshed(every_s: float, *names: str, offset_s: float = 0.0, skips: int = 1) -> Values:
    """Series that have news every `every_s`; with `skips` only at each so many-th refresh."""
    return lambda now_s: dict.fromkeys(names, int((now_s - offset_s) / every_s + 1e-9) // skips)


def watch(freshness: Freshness, exporter: Values, until_s: float, poll_s: float = 0.1, start_s: float = 0.0) -> None:
    for step in range(round((until_s - start_s) / poll_s)):
        now_s = start_s + step * poll_s
        reading = Reading(Identity("h", "GPU-0", 0, None), dict(exporter(now_s)))
        freshness.saw(round(now_s * NS_PER_S), {"GPU-0": reading})


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 30.0])
def test_the_interval_is_known_after_two_refreshes_of_a_few_series(interval_s: float) -> None:
    """The first refresh seen is no interval yet; from the second on it is known."""
    freshness = Freshness(0.1)
    watch(freshness, refreshed(interval_s, *MOVING), 2 * interval_s)
    assert freshness.interval_s is None
    watch(freshness, refreshed(interval_s, *MOVING), 2.2 * interval_s, start_s=2 * interval_s)
    assert freshness.interval_s == pytest.approx(interval_s, abs=0.11)


def test_values_that_move_rarely_do_not_make_the_interval_longer() -> None:
    """One series has news at each refresh, two at each third: the liveliest tells."""
    lively, lazy = refreshed(5.0, "energy"), refreshed(5.0, "clock", "used", skips=3)
    freshness = Freshness(0.1)
    watch(freshness, lambda now_s: {**lazy(now_s), **lively(now_s)}, 40.0)
    assert freshness.interval_s == pytest.approx(5.0, abs=0.1)


def test_a_value_that_skips_refreshes_is_no_longer_interval() -> None:
    """Ten seconds now and then between changes of a series that has news every five are two intervals."""
    freshness = Freshness(0.1)
    watch(freshness, lambda now_s: {"power": float(int(now_s / 5 + 1e-9) - (int(now_s / 5 + 1e-9) in (3, 9)))}, 80.0)
    assert freshness.interval_s == pytest.approx(5.0, abs=0.1)


def test_profiling_series_refreshed_at_another_moment_do_not_halve_it() -> None:
    """The text changes twice in each interval, each series once."""
    first, second = refreshed(30.0, "power", "used"), refreshed(30.0, "sm", "tensor", offset_s=0.4)
    freshness = Freshness(0.1)
    watch(freshness, lambda now_s: {**first(now_s), **second(now_s)}, 100.0)
    assert freshness.interval_s == pytest.approx(30.0, abs=0.11)


def test_a_long_silence_is_told_before_the_interval_is_known() -> None:
    """Power and energy always move on a real GPU: five seconds without news are an interval of at least that."""
    freshness = Freshness(0.1)
    watch(freshness, refreshed(30.0, "DCGM_FI_DEV_POWER_USAGE"), 8.0)
    assert freshness.at_least_s(round(4.9 * NS_PER_S)) is None
    assert freshness.at_least_s(8 * NS_PER_S) == 8.0
    others = Freshness(0.1)
    watch(others, refreshed(30.0, "used"), 8.0)
    assert others.at_least_s(8 * NS_PER_S) is None


def test_what_lies_over_an_outage_is_no_interval() -> None:
    """An exporter that was away for a minute has the interval it had."""
    freshness = Freshness(0.1)
    watch(freshness, refreshed(5.0, *MOVING), 12.0)
    freshness.forget()
    watch(freshness, refreshed(5.0, *MOVING), 90.0, start_s=73.0)
    assert freshness.interval_s == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize(("interval_s", "poll_s"), [(30.0, IDLE_POLL_S), (1.0, 0.2), (0.1, 0.1)])
def test_an_exporter_is_not_asked_much_more_often_than_it_has_news(interval_s: float, poll_s: float) -> None:
    """Once a second at 30 s, five times a second at 1 s, as often as wanted when each scrape is new."""
    freshness = Freshness(0.1)
    watch(freshness, refreshed(interval_s, *MOVING), 4 * interval_s)
    assert freshness.poll_s(round(4 * interval_s * NS_PER_S), 0.0) == pytest.approx(poll_s, abs=0.03)


def test_an_exporter_of_very_many_series_is_asked_less_often() -> None:
    """What takes 50 ms of work is asked once a second: a twentieth of a core."""
    assert Freshness(0.1).poll_s(0, cost_s=0.05) == pytest.approx(1.0)

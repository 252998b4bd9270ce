"""Statistics on series whose truth is known; the rates of many series are in docs/analysis.md."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from comfysoak_analysis.binomial import Side, side_of
from comfysoak_analysis.statistics.change import change
from comfysoak_analysis.statistics.rates import rate_at_most, rate_interval
from comfysoak_analysis.statistics.scalability import scalability
from comfysoak_analysis.statistics.series import Floats, cases_alike
from comfysoak_analysis.statistics.steady import steady_from
from comfysoak_analysis.statistics.together import lagged, lift
from comfysoak_analysis.statistics.trend import trend

SERIES = 20
Series = Callable[[np.random.Generator], Floats]


def autocorrelated(size: int, by: float = 0.7) -> Series:
    """Noise of standard deviation 1 that remembers: AR(1)."""

    def drawn(random: np.random.Generator) -> Floats:
        noise, found = random.standard_normal(size + 100), np.zeros(size + 100)
        for place in range(1, found.size):
            found[place] = by * found[place - 1] + noise[place]
        return found[100:] * math.sqrt(1 - by**2)

    return drawn


def sawtooth(size: int, teeth: int) -> Series:
    """Memory that fills and is let go, at steps that are never quite the same."""

    def drawn(random: np.random.Generator) -> Floats:
        lengths = (size / teeth * random.uniform(0.7, 1.3, 3 * teeth)).astype(int).clip(3)
        found = np.concatenate([np.arange(length) / length for length in lengths])
        start = int(random.integers(0, lengths[0]))
        return found[start : start + size] + 0.05 * random.standard_normal(size)

    return drawn


def alarms(series: Series, test: Callable[[Floats], bool]) -> int:
    """In how many of 20 series `test` finds something."""
    return sum(test(series(np.random.default_rng(seed))) for seed in range(SERIES))


def rises(values: Floats) -> bool:
    """Whether a trend is found at 1 %."""
    found = trend(np.arange(float(values.size)), values)
    return found is not None and found.p <= 0.01


@pytest.mark.parametrize("series", [autocorrelated(300), sawtooth(400, 4), sawtooth(400, 20)])
def test_no_trend_is_found_in_what_only_swings(series: Series) -> None:
    """Autocorrelation and teeth of a saw are no trend."""
    assert alarms(series, rises) <= 1


def test_a_rise_is_found_beneath_a_sawtooth() -> None:
    """Half a tooth of rise beneath twenty teeth is found in most series, with its slope in the interval."""
    teeth, rise = sawtooth(400, 20), np.linspace(0, 0.5, 400)
    assert alarms(lambda random: teeth(random) + rise, rises) >= 18
    found = trend(np.arange(400.0), teeth(np.random.default_rng(1)) + rise)
    assert found is not None
    assert found.low_per_s < 0.5 / 400 < found.high_per_s


def test_a_shift_of_the_mix_is_no_trend() -> None:
    """More of the slow workflow towards the end is none within workflows, and one without strata."""
    random = np.random.default_rng(1)
    slow = random.random(400) < np.linspace(0.1, 0.9, 400)
    values = np.where(slow, 10.0, 2.0) + random.standard_normal(400)
    within = trend(np.arange(400.0), values, ["slow" if one else "fast" for one in slow])
    pooled = trend(np.arange(400.0), values)
    assert within is not None
    assert pooled is not None
    assert within.p > 0.05
    assert pooled.p < 0.001


def test_a_loud_workflow_hides_no_quiet_ones_memory() -> None:
    """Noise of one, 20 times as loud, does not make neighbours of the other independent."""

    def rises_falsely(seed: int) -> bool:
        random = np.random.default_rng(seed)
        loud = random.random(400) < 0.5
        found = trend(np.arange(400.0), np.where(loud, 20 * random.standard_normal(400),
                                                 autocorrelated(400, 0.95)(random)), loud)  # fmt: skip
        return found is not None and found.p <= 0.01

    assert sum(rises_falsely(seed) for seed in range(40)) <= 3


def test_a_slope_is_told_exactly_and_survives_ties_gaps_and_a_skipped_start() -> None:
    """A straight line with holes in it has its slope; what is skipped does not count."""
    values = np.arange(100.0) * 2
    values[::7], values[:20] = np.nan, 500.0
    found = trend(np.arange(100.0), values, skip=0.2)
    assert found is not None
    assert found.slope_per_s == pytest.approx(2)
    assert found.p < 1e-6
    level = trend(np.arange(100.0), np.full(100, 3.0))
    assert level is not None
    assert (level.slope_per_s, level.p) == (0, 1)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_too_few_points_have_no_trend_and_no_change(size: int) -> None:
    """There is no answer, and no warning either."""
    values = np.arange(float(size))
    assert trend(values, values) is None
    assert change(values, values) is None
    assert steady_from(values, values) is None
    assert lagged(1.0, values, values, 5.0) is None
    assert lift(values, np.zeros(size)) is None


def test_nothing_known_is_no_answer() -> None:
    """Series of NaN give none."""
    nothing = np.full(500, np.nan)
    seconds = np.arange(500.0)
    assert trend(seconds, nothing) is None
    assert change(seconds, nothing) is None
    assert steady_from(seconds, nothing) is None
    assert lagged(1.0, nothing, seconds, 5.0) is None
    assert lift(np.ones(500), nothing) is None


def test_a_warm_up_is_cut_and_noise_is_not() -> None:
    """A slow first tenth is left out, and never more than half; autocorrelated noise is steady from the start."""
    seconds, noise = np.arange(300.0), autocorrelated(300)

    def from_s(values: Floats) -> float:
        found = steady_from(seconds, 10 + values)
        assert found is not None
        return found.from_s if found.is_steady else -1.0

    slow = [from_s(noise(np.random.default_rng(seed)) + 5 * (seconds < 30)) for seed in range(SERIES)]
    calm = [from_s(noise(np.random.default_rng(seed))) for seed in range(SERIES)]
    assert np.median(slow) == 30
    assert all(25 <= one <= 150 for one in slow)
    assert sum(one == 0 for one in calm) >= 18


def test_a_short_run_that_is_steady_keeps_its_start() -> None:
    """300 prompts are 60 points, which swing by themselves: in few of 200 such runs is any left out."""
    seconds, noise = np.arange(60.0), autocorrelated(60)
    found = [steady_from(seconds, 10 + noise(np.random.default_rng(seed))) for seed in range(200)]
    assert sum(one is not None and one.from_s > 0 for one in found) <= 14


def test_what_drifts_to_its_end_is_never_steady() -> None:
    """A third more at the end than at the start is no warm-up."""
    values = 10 + np.linspace(0, 3, 300) + 0.5 * np.random.default_rng(1).standard_normal(300)
    found = steady_from(np.arange(300.0), values)
    assert found is not None
    assert not found.is_steady


def test_a_step_is_found_where_it_is_and_noise_has_none() -> None:
    """One and a half standard deviations in autocorrelated noise are found at their place."""
    seconds, noise = np.arange(400.0), autocorrelated(400)

    def steps(values: Floats) -> bool:
        found = change(seconds, values)
        return found is not None and found.p <= 0.01

    assert alarms(noise, steps) <= 1
    found = change(seconds, noise(np.random.default_rng(3)) + 1.5 * (seconds >= 250))
    assert found is not None
    assert found.p <= 0.01
    assert abs(found.at_s - 250) <= 10
    assert found.after - found.before == pytest.approx(1.5, abs=0.5)


def test_a_step_in_what_remembers_long_is_found_in_short_series() -> None:
    """One and a half deviations in 200 points of AR(1) 0.7 are; in none of most that only wander."""
    seconds, noise = np.arange(200.0), autocorrelated(200)

    def told(step: float) -> int:
        found = [change(seconds, noise(np.random.default_rng(seed)) + step * (seconds > 80)) for seed in range(100)]
        return sum(one is not None and one.p <= 0.01 for one in found)

    assert told(0.0) <= 4
    assert told(1.5) >= 70


def test_a_step_without_noise_is_certain() -> None:
    """Nothing is left of such a series once its step is taken off."""
    found = change(np.arange(40.0), np.repeat((1.0, 2.0), 20))
    assert found is not None
    assert (found.at_s, found.before, found.after) == (20, 1, 2)
    assert found.p < 1e-9


def test_one_odd_point_is_no_step() -> None:
    """However far the last of twenty lies off, it is one of twenty that could."""
    found = change(np.arange(20.0), np.append(np.zeros(19), 1e6))
    assert found is not None
    assert found.p == pytest.approx(0.1)


@pytest.mark.parametrize("series", [autocorrelated(600, 0.9), sawtooth(600, 20)])
def test_two_series_that_know_nothing_of_each_other_do_not_go_together(series: Series) -> None:
    """Trends and saws alone make no correlation of changes."""
    trends = np.linspace(0, 50, 600)

    def together(seed: int) -> bool:
        first, second = (series(np.random.default_rng(one)) + trends for one in (seed, 1000 + seed))
        found = lagged(1.0, first, second, 5.0)
        return found is not None and found.p <= 0.01

    assert sum(together(seed) for seed in range(SERIES)) <= 1


def test_a_follower_is_found_with_its_lag() -> None:
    """The second of two random walks repeats half of the first one's steps three seconds later."""
    random = np.random.default_rng(1)
    steps = random.standard_normal(600)
    second = np.roll(steps, 3) * 0.5 + random.standard_normal(600) * 0.87
    found = lagged(1.0, np.cumsum(steps), np.cumsum(second), 5.0)
    assert found is not None
    assert found.lag_s == 3
    assert found.correlation == pytest.approx(0.5, abs=0.12)
    assert found.p < 0.01
    assert found.chance < 0.25


def test_a_lag_is_told_from_gaps_and_of_several_servers_each_against_its_own() -> None:
    """Unknown stretches are left out; a server's series is not held against another's."""
    random = np.random.default_rng(1)
    steps = random.standard_normal((2, 600))
    second = np.cumsum(np.roll(steps, 2, axis=1), axis=1)
    second[0, 100:150] = np.nan
    found = lagged(1.0, np.cumsum(steps, axis=1), second, 5.0)
    assert found is not None
    assert (found.lag_s, found.p < 0.01) == (2, True)
    crossed = lagged(1.0, np.cumsum(steps, axis=1), second[::-1], 5.0)
    assert crossed is None or crossed.p > 0.01


def test_what_is_infinite_is_not_known() -> None:
    """It gives no warning, and no answer of its own."""
    steps = np.random.default_rng(1).standard_normal(600)
    first, second = np.cumsum(steps), np.cumsum(np.roll(steps, 2))
    first[100:110], second[300] = np.inf, -np.inf
    found = lagged(1.0, first, second, 5.0)
    assert found is not None
    assert found.lag_s == 2
    assert lagged(1.0, np.full(600, np.inf), second, 5.0) is None


def events_and_state(seed: int, *, inside: int, outside: int) -> tuple[Floats, Floats]:
    """Events in 1,200 buckets of which a twentieth, in spans of ten, are in a state."""
    random = np.random.default_rng(seed)
    state = np.zeros(1200)
    for begin in random.choice(120, 6, replace=False):
        state[10 * begin : 10 * begin + 10] = 1
    counts = np.zeros(1200)
    np.add.at(counts, random.choice(np.flatnonzero(state == 1), inside), 1)
    np.add.at(counts, random.choice(np.flatnonzero(state == 0), outside), 1)
    return counts, state


def test_a_lift_tells_hits_cases_and_what_chance_makes() -> None:
    """Seven of nine events in a twentieth of the time are no chance."""
    found = lift(*events_and_state(1, inside=7, outside=2))
    assert found is not None
    assert (found.hits, found.cases) == (7, 9)
    assert found.expected == pytest.approx(0.45, abs=0.15)
    assert found.low > 3
    assert found.p < 0.01


def test_events_that_come_in_bursts_follow_no_state_by_chance() -> None:
    """A burst that once fell into the state is one case, however many events it has."""

    def said(seed: int) -> bool:
        random = np.random.default_rng(seed)
        _, state = events_and_state(seed, inside=1, outside=1)
        counts = np.zeros(1200)
        for begin in random.integers(0, 1180, 3):
            np.add.at(counts, begin + random.integers(0, 20, 10), 1)
        found = lift(counts, state)
        return found is not None and found.p <= 0.01

    assert sum(said(seed) for seed in range(SERIES)) <= 1


def test_a_state_that_always_or_never_holds_has_no_lift() -> None:
    """Nothing can be compared."""
    counts = np.bincount(np.arange(0, 1000, 50), minlength=1000).astype(float)
    assert lift(counts, np.ones(1000)) is None
    assert lift(counts, np.zeros(1000)) is None


def test_servers_are_held_against_their_own_state() -> None:
    """The same events are a lift beside their own server's GPU, and none beside another's."""
    (first, state), (second, other) = (events_and_state(seed, inside=7, outside=2) for seed in (1, 5))
    counts = np.vstack((first, second))
    own = lift(counts, np.vstack((state, other)))
    crossed = lift(counts, np.vstack((other, state)))
    assert own is not None
    assert (own.hits, own.cases) == (14, 18)
    assert own.p < 0.01
    assert crossed is None or crossed.p > 0.05


def test_rates_have_their_exact_intervals() -> None:
    """Garwood's interval; and nothing in 576 hours shows at most one in 192."""
    found = rate_interval(3, 10.0)
    assert found.low == pytest.approx(0.0619, abs=1e-4)
    assert found.high == pytest.approx(0.8767, abs=1e-4)
    none = rate_interval(0, 10.0)
    assert none.low == 0
    assert none.high == pytest.approx(0.3689, abs=1e-4)
    assert 1 / rate_at_most(576) == pytest.approx(192.3, abs=0.1)


LOADS = np.array([1.0, 2, 4, 8, 16, 24, 32, 48, 64])
GIVEN = 10 * LOADS / (1 + 0.05 * (LOADS - 1) + 0.0008 * LOADS * (LOADS - 1))


def test_the_knee_is_found_where_steps_reach_beyond_it() -> None:
    """The truth is 34.5 users; two percent of noise move it little."""
    noise = 1 + 0.02 * np.random.default_rng(1).standard_normal(LOADS.size)
    found = scalability(LOADS, GIVEN * noise)
    assert found is not None
    assert found.knee == pytest.approx(34.5, rel=0.1)
    assert found.peak == pytest.approx(95.9, rel=0.05)
    exact = scalability(LOADS, GIVEN)
    assert exact is not None
    assert (exact.lambda_, exact.sigma, exact.kappa) == pytest.approx((10, 0.05, 0.0008), rel=1e-6)


def test_throughput_that_falls_from_the_first_step_on_has_its_knee_there() -> None:
    """And not at a load below, which nobody tried."""
    found = scalability(np.array([1.0, 2, 4, 8]), np.array([1.0, 0.5, 0.25, 0.1]))
    assert found is not None
    assert found.knee == 1.0
    assert found.peak == pytest.approx(1.0, abs=0.1)


def test_no_knee_is_told_where_steps_do_not_reach_it() -> None:
    """Neither below it nor on a plateau; fewer than four loads fit nothing."""
    below = scalability(LOADS[:6], GIVEN[:6])
    level = scalability(LOADS, np.minimum(3 * LOADS, 10))
    assert below is not None
    assert level is not None
    assert (below.knee, level.knee) == (None, None)
    assert level.peak == 10
    assert scalability(LOADS[:3], GIVEN[:3]) is None
    assert scalability(LOADS, np.zeros(9)) is None


def test_prompts_that_wait_in_one_queue_count_for_fewer_than_they_are() -> None:
    """A p95 at its limit is missed in few runs: by a plain binomial it is in over a fifth of them."""
    drawn = np.random.default_rng(5)
    limit_s, runs, size = 6.33, 120, 1000
    missed, plainly = 0, 0
    for _ in range(runs):
        over = _queued_s(drawn, size) >= limit_s
        hits, share = int(over.sum()), 0.05
        missed += side_of(hits, size, share, alike=cases_alike(over)).side is Side.ABOVE
        plainly += side_of(hits, size, share).side is Side.ABOVE
    assert plainly >= 0.2 * runs
    assert missed <= 0.06 * runs


def _queued_s(drawn: np.random.Generator, size: int) -> np.ndarray:
    """Latencies at one server that is busy for 0.7 of the time, by Lindley's recursion; p95 is 6.33 s."""
    service_s, between_s = drawn.gamma(4.0, 0.25, size + 300), drawn.exponential(1 / 0.7, size + 300)
    sums = np.concatenate(([0.0], np.cumsum(service_s[:-1] - between_s[1:])))
    waits_s = sums - np.minimum.accumulate(sums)
    return np.asarray((waits_s + service_s)[300:])


def test_independent_prompts_count_in_full_and_queues_never_for_nothing() -> None:
    """Draws count as what they are, or nearly; one long slow stretch still counts as 20."""
    drawn = np.random.default_rng(6)
    alike = [cases_alike(drawn.random(size) < share) for size in (60, 400, 20_000) for share in (0.05, 0.5)]
    assert max(alike) < 1.5
    assert cases_alike(np.zeros(500, dtype=bool)) == cases_alike(np.ones(500, dtype=bool)) == 1
    assert cases_alike(np.zeros(0, dtype=bool)) == cases_alike(np.array([True])) == 1
    assert cases_alike(np.arange(5_000) > 2_500) == 250


def test_servers_that_take_prompts_in_turn_hide_no_queue() -> None:
    """Neighbours know nothing of each other then, but every fourth does."""
    drawn = np.random.default_rng(9)
    in_turn = [np.stack([_queued_s(drawn, 250) for _ in range(4)], axis=1).ravel() >= 6.33 for _ in range(100)]
    assert (
        sum(side_of(int(one.sum()), one.size, 0.05, alike=cases_alike(one)).side is Side.ABOVE for one in in_turn) <= 8
    )


def test_an_interval_of_a_slope_can_be_surer() -> None:
    """What is asked again and again needs a wider one."""
    drawn = np.random.default_rng(7)
    seconds = np.arange(200.0)
    values = 0.1 * seconds + drawn.normal(size=200)
    usual, surer = trend(seconds, values), trend(seconds, values, confidence=0.999)
    assert usual is not None
    assert surer is not None
    assert surer.low_per_s < usual.low_per_s < usual.slope_per_s < usual.high_per_s < surer.high_per_s
    assert surer.slope_per_s == usual.slope_per_s

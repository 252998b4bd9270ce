"""The clock of a remote probe: hours off, drifting, stepping; all by clocks that are numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.distant_clock import Exchange
from comfysoak_probes.remote.clock import Point, RemoteClock

HOUR_NS = 3600 * NS_PER_S
START_NS = 1_764_000_000 * NS_PER_S


@dataclass(slots=True)
class Pair:
    """Our clock, and a probe's: so far ahead at the start, and gaining `ppm`."""

    ahead_ns: int = 5 * HOUR_NS
    ppm: float = 0.0
    now_ns: int = START_NS
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def probe_ns(self, ours_ns: int) -> int:
        return ours_ns + self.ahead_ns + round((ours_ns - START_NS) * self.ppm / 1e6)

    def exchange(self, way_ns: int = 200_000) -> Exchange:
        """The probe answers somewhere between; the two ways are never equally long."""
        sent_ns = self.now_ns
        told_ns = self.probe_ns(sent_ns + self.chance.randrange(way_ns))
        return Exchange(sent_ns, told_ns, sent_ns + way_ns)

    def measure(self, clock: RemoteClock, seconds: float, *, every_s: float = 0.5, way_ns: int = 200_000) -> list[int]:
        """Exchanges for so long; the steps that were seen."""
        steps = []
        for _ in range(round(seconds / every_s)):
            steps.append(clock.add(self.exchange(way_ns)))
            self.now_ns += round(every_s * NS_PER_S)
        return [step for step in steps if step]

    def off_ns(self, clock: RemoteClock, ours_ns: int) -> int:
        """How far wrong the clock is about a moment."""
        return abs(clock.ours_ns(self.probe_ns(ours_ns)) - ours_ns)


@pytest.mark.parametrize("ppm", [-200.0, 0.0, 40.0])
def test_rows_are_moved_by_the_distance_at_their_own_time(ppm: float) -> None:
    """Hours off and drifting: every moment of the last minutes comes out within the bound of an exchange."""
    pair, clock = Pair(ppm=ppm), RemoteClock()
    assert pair.measure(clock, 180) == []
    for back_s in range(0, 179, 7):
        assert pair.off_ns(clock, pair.now_ns - back_s * NS_PER_S) <= 200_000
    assert clock.drift_ppm == pytest.approx(ppm, abs=2.0)
    assert clock.error_ns <= 100_000


def test_a_row_of_a_cut_is_moved_by_the_distance_at_its_time() -> None:
    """Four minutes without a word at 100 ppm, 24 ms of drift: what was sampled meanwhile is right to the bound."""
    pair, clock = Pair(ppm=100.0), RemoteClock()
    pair.measure(clock, 30)
    cut_ns = pair.now_ns
    pair.now_ns += 240 * NS_PER_S
    assert pair.measure(clock, 2) == []
    for after_s in range(0, 240, 20):
        assert pair.off_ns(clock, cut_ns + after_s * NS_PER_S) <= 200_000


def test_slow_exchanges_move_nothing_that_fast_ones_know_better() -> None:
    """A congested line, up to 80 ms a way, for half a minute: the narrow measurements around it count."""
    pair, clock = Pair(ppm=20.0), RemoteClock()
    pair.measure(clock, 60)
    congested_ns = pair.now_ns
    pair.measure(clock, 25, way_ns=80 * NS_PER_MS)
    pair.measure(clock, 30)
    assert pair.off_ns(clock, congested_ns + 12 * NS_PER_S) <= NS_PER_MS


@pytest.mark.parametrize("slept_s", [-40, 3600])
def test_a_machine_that_slept_is_a_step_and_what_was_sampled_before_stays_where_it_was(slept_s: int) -> None:
    """One of the clocks stood still: told once, with its size; rows from before it keep the old distance."""
    pair, clock = Pair(), RemoteClock()
    pair.measure(clock, 40)
    before_probe_ns, before_ns = pair.probe_ns(pair.now_ns - NS_PER_S), pair.now_ns - NS_PER_S
    pair.ahead_ns += slept_s * NS_PER_S
    if slept_s > 0:  # ours slept: the probe's went on meanwhile
        pair.now_ns += NS_PER_S
    else:
        pair.now_ns += -slept_s * NS_PER_S
    (step_ns,) = pair.measure(clock, 30)
    assert step_ns == pytest.approx(slept_s * NS_PER_S, abs=20 * NS_PER_MS)
    assert pair.off_ns(clock, pair.now_ns) <= 200_000
    assert abs(clock.ours_ns(before_probe_ns) - before_ns) <= 200_000


def test_a_small_step_is_not_taken_for_drift() -> None:
    """40 ms, as of a virtual machine that moved house: told, and what is extrapolated from it stays right."""
    pair, clock = Pair(), RemoteClock()
    pair.measure(clock, 120)
    pair.ahead_ns += 40 * NS_PER_MS
    assert len(pair.measure(clock, 60)) == 1
    assert pair.off_ns(clock, pair.now_ns + 240 * NS_PER_S) <= 5 * NS_PER_MS


def test_drift_is_not_told_before_it_can_be_known() -> None:
    """After a few seconds, or by exchanges too slow for it, there is none."""
    pair, clock = Pair(ppm=50.0), RemoteClock()
    pair.measure(clock, 9)
    assert clock.drift_ppm is None
    slow = RemoteClock()
    Pair(ppm=50.0).measure(slow, 40, way_ns=40 * NS_PER_MS)
    assert slow.drift_ppm is None


def test_three_points_are_enough_to_go_on_with() -> None:
    """A sampler that is started again has the essence of what the one before knew, drift and all."""
    pair, clock = Pair(ppm=80.0), RemoteClock()
    pair.measure(clock, 120)
    again = RemoteClock(clock.essence)
    assert len(clock.essence) == 3
    pair.now_ns += 60 * NS_PER_S
    assert pair.off_ns(again, pair.now_ns) <= 2 * NS_PER_MS
    assert pair.measure(again, 2) == []


def test_what_is_kept_does_not_grow() -> None:
    """A day of exchanges is sixty points."""
    pair, clock = Pair(ppm=3.0), RemoteClock()
    pair.measure(clock, 24 * 3600, every_s=10)
    assert len(clock._points) == 60
    assert pair.off_ns(clock, pair.now_ns) <= 200_000


def test_a_point_is_what_one_exchange_bounds() -> None:
    """The middle between asking and hearing, give or take half of it."""
    assert Point.of(Exchange(1_000, 9_000, 3_000)) == Point(9_000, 7_000, 1_000)

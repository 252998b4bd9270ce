from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.clock import NS_PER_MS, NS_PER_S, Anchor
from comfysoak_core.distant_clock import CLOCK_FILE_VARIABLE, Exchange, FollowingClock, best_of, clock_from_environment

UTC = 1_764_000_000 * NS_PER_S


class Machines:
    """A master and a worker whose oscillators differ, and a network between them that is slow as chance has it."""

    def __init__(self, chance: Random, drift_ppm: float) -> None:
        self.chance = chance
        self.rate = 1 + drift_ppm / 1e6
        self.true_ns = 0  # of the master's oscillator

    def monotonic(self) -> int:
        """The worker's monotonic clock."""
        return round(77_000 * NS_PER_S + self.true_ns * self.rate)

    def master(self) -> int:
        """The master's clock."""
        return UTC + self.true_ns

    def exchange(self) -> Exchange:
        """One question and its answer, each way with a delay of its own."""
        sent = self.monotonic()
        self.true_ns += self.chance.randrange(20_000, 5 * NS_PER_MS)
        told = self.master()
        self.true_ns += self.chance.randrange(20_000, 5 * NS_PER_MS)
        return Exchange(sent, told, self.monotonic())

    def measure(self) -> Anchor:
        """A burst of exchanges."""
        return best_of(self.exchange() for _ in range(8))


@given(seed=st.integers(0, 2**32), drift_ppm=st.floats(-200, 200))
def test_the_clock_stays_within_its_stated_bound_and_never_goes_back(seed: int, drift_ppm: float) -> None:
    """Over minutes, with drift and unequal ways, each reading lies where the rows of `clocks` say it does."""
    machines = Machines(Random(seed), drift_ppm)
    clock = FollowingClock(machines.measure(), monotonic=machines.monotonic, system=machines.master)
    before = clock.now_ns()
    for _ in range(20):
        for _ in range(10):
            machines.true_ns += NS_PER_S
            assert clock.now_ns() > before
            before = clock.now_ns()
        measured = machines.measure()
        stated = clock.distance_ns(measured)
        true = machines.master() - clock.now_ns()
        assert abs(true - stated) <= measured.error_ns + NS_PER_MS // 100  # drift since the narrowest exchange
        clock.follow(measured)
        assert clock.now_ns() >= before
        machines.true_ns += 20 * abs(stated)
        assert abs(machines.master() - clock.now_ns()) <= 2 * measured.error_ns + NS_PER_MS // 10


def test_a_clock_that_is_far_behind_jumps() -> None:
    """A machine that has slept is not led for hours."""
    machines = Machines(Random(1), 0)
    clock = FollowingClock(machines.measure(), monotonic=machines.monotonic, system=machines.master)
    slept = machines.measure()
    clock.follow(Anchor(slept.monotonic_ns, slept.utc_ns + 3600 * NS_PER_S, slept.error_ns))
    assert clock.now_ns() - machines.master() > 3590 * NS_PER_S


def test_all_processes_of_a_worker_follow_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchor in the file counts from the next reading of the offset on; rubbish in it changes nothing."""
    path = tmp_path / "clock"
    monkeypatch.setenv(CLOCK_FILE_VARIABLE, str(path))
    clock = clock_from_environment()
    assert isinstance(clock, FollowingClock)
    here = Anchor.take()
    path.write_text(Anchor(here.monotonic_ns, here.utc_ns + 5 * NS_PER_S, here.error_ns).to_environment())
    clock.read_offset()
    assert -clock.system_offset_ns == pytest.approx(5 * NS_PER_S, abs=NS_PER_S)
    path.write_text("rubbish")
    clock.read_offset()
    assert -clock.system_offset_ns == pytest.approx(5 * NS_PER_S, abs=NS_PER_S)

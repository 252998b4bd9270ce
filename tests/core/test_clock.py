"""The clock of a run."""

from __future__ import annotations

import pytest

from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor, AnchoredClock


class Ticks:
    """Two clocks under the test's thumb."""

    def __init__(self) -> None:
        self.monotonic_ns = 1_000
        self.system_ns = 5_000_000

    def monotonic(self) -> int:
        return self.monotonic_ns

    def system(self) -> int:
        return self.system_ns


class WaitingTicks(Ticks):
    """A process that is off its core for a millisecond right after it has read the system clock."""

    def system(self) -> int:
        found = self.system_ns
        self.monotonic_ns += 1_000_000
        self.system_ns += 1_000_000
        return found


def test_a_reading_that_had_to_wait_between_its_clocks_moves_nothing() -> None:
    """What its own error explains is no change; a step beyond that is one."""
    ticks = WaitingTicks()
    clock = AnchoredClock(Anchor(1_000, 5_000_000, 0), ticks.monotonic, ticks.system)
    assert clock.read_offset() == 0
    ticks.system_ns += 30_000_000
    assert abs(clock.read_offset() - 30_000_000) <= 1_000_000


def test_a_step_of_the_system_clock_moves_nothing() -> None:
    """Our time goes on with the monotonic clock when the system clock is set; only the offset tells of it."""
    ticks = Ticks()
    clock = AnchoredClock(Anchor.take(ticks.monotonic, ticks.system), ticks.monotonic, ticks.system)
    assert clock.now_ns() == 5_000_000
    ticks.monotonic_ns += 700
    ticks.system_ns += 700 + 3_600_000
    assert clock.now_ns() == 5_000_700
    assert clock.read_offset() == 3_600_000
    assert clock.from_system_ns(ticks.system_ns) == clock.now_ns()


def test_the_tightest_read_anchors() -> None:
    """Of many reads the one with the smallest distance between its two monotonic reads counts."""
    monotonic = iter([0, 100, 1000, 1002, 2000, 2500])
    system = iter([50, 1001, 2250])
    anchor = Anchor.take(lambda: next(monotonic), lambda: next(system), reads=3)
    assert anchor == Anchor(1001, 1001, 1)


def test_children_share_the_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is handed an anchor tells the same time as the one that took it."""
    anchor = Anchor(17, 42, 3)
    monkeypatch.setenv(ANCHOR_VARIABLE, anchor.to_environment())
    assert Anchor.from_environment() == anchor

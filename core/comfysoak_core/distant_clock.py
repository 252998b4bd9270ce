"""The run's time on a machine that does not share its clock: measured over the network, and followed.

A worker asks its master for the time and notes its own before and after: the master's answer was given between the
two, so each exchange bounds the distance of the clocks, by half of what it took, however unequal the two ways are.
The narrowest of many counts. A `FollowingClock` is set by the first of them, and led after the later ones, since no two
clocks run equally fast. It never goes back: it is led by running a tenth faster or slower for a moment.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from comfysoak_core.clock import NS_PER_MS, Anchor, AnchoredClock, steady_ns

CLOCK_FILE_VARIABLE = "COMFYSOAK_CLOCK_FILE"
SLEW = 10  # one nanosecond is made good in so many
JUMP_NS = 100 * NS_PER_MS  # further behind than this it jumps: the machine has slept


@dataclass(frozen=True, slots=True)
class Exchange:
    """The distant clock read `told_ns` at some moment between `sent_ns` and `received_ns` of our monotonic clock."""

    sent_ns: int
    told_ns: int
    received_ns: int

    @property
    def error_ns(self) -> int:
        """How far off the middle may be."""
        return (self.received_ns - self.sent_ns + 1) // 2


def best_of(exchanges: Iterable[Exchange]) -> Anchor:
    """The distant clock tied to our monotonic one by the narrowest exchange; its `error_ns` is a bound."""
    best = min(exchanges, key=lambda found: found.error_ns)
    return Anchor((best.sent_ns + best.received_ns) // 2, best.told_ns, best.error_ns)


class FollowingClock(AnchoredClock):
    """The clock of a run on another machine than its master's.

    `path` holds the anchor that was measured last (`Anchor.to_environment`), renewed by whoever measures; it is read
    with each `read_offset`. None: `follow` is called instead.
    """

    def __init__(
        self,
        anchor: Anchor,
        path: Path | None = None,
        monotonic: Callable[[], int] = steady_ns,
        system: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = path
        self._led_until_ns = 0
        self._direction = 0
        super().__init__(anchor, monotonic, system)

    def now_ns(self) -> int:
        """UTC nanoseconds of the master's clock."""
        now = self._monotonic()
        left_ns = self._led_until_ns - now
        if left_ns <= 0:
            return now + self._shift_ns
        return now + self._shift_ns - self._direction * (left_ns // SLEW)

    def read_offset(self) -> int:
        """Follow what was measured last, then as `AnchoredClock` does."""
        if self._path is not None:
            with contextlib.suppress(OSError, ValueError):  # it is there again in a second
                self.follow(Anchor.from_text(self._path.read_text(encoding="ascii")))
        return super().read_offset()

    def distance_ns(self, measured: Anchor) -> int:
        """How far the master's clock is ahead of this one, by a measurement; true within its `error_ns`."""
        return measured.utc_ns - measured.monotonic_ns - self._shift_at(measured.monotonic_ns)

    def follow(self, measured: Anchor) -> None:
        """Be led to the master's clock, where the measurement proves that this one is off."""
        if measured == self.anchor:
            return
        self.anchor = measured
        if abs(self.distance_ns(measured)) <= measured.error_ns:
            return
        now = self._monotonic()
        target_ns = measured.utc_ns - measured.monotonic_ns
        way_ns = target_ns - self._shift_at(now)
        self._shift_ns = target_ns
        self._direction = 1 if way_ns > 0 else -1
        self._led_until_ns = now if way_ns > JUMP_NS else now + abs(way_ns) * SLEW

    def _shift_at(self, monotonic_ns: int) -> int:
        return self._shift_ns - self._direction * (max(self._led_until_ns - monotonic_ns, 0) // SLEW)


def clock_from_environment() -> AnchoredClock:
    """The clock of this process's run: its host's own, or one that follows a master's on another machine."""
    path = os.environ.get(CLOCK_FILE_VARIABLE, "")
    anchor = Anchor.from_environment()
    return FollowingClock(anchor, Path(path)) if path else AnchoredClock(anchor)

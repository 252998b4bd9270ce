"""One time for all processes of a run: UTC nanoseconds that no step of the system clock moves.

A run takes one `Anchor` per host: a moment read on the monotonic and on the system clock at once. Every time in
a recording is the monotonic clock of its host, shifted by that anchor. The kernel stamps received packets
with the system clock; those stamps are converted by the offset between the two clocks, read every second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
ANCHOR_VARIABLE = "COMFYSOAK_ANCHOR"


# What all times of a run are told by. On Windows `time.monotonic_ns` moves in steps of 15.6 ms before Python 3.13, and
# is there what the other one is from then on; that one is a clock of the whole machine as well.
steady_ns = time.perf_counter_ns if sys.platform == "win32" else time.monotonic_ns


class Clock(Protocol):
    """What tells the time; passed in, never looked up, so that tests need no sleeping."""

    def now_ns(self) -> int:
        """UTC nanoseconds since 1970, never going back."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A moment on both clocks: `utc_ns` was the system clock when the monotonic one read `monotonic_ns`.

    `error_ns` bounds how far apart the two reads were.
    """

    monotonic_ns: int
    utc_ns: int
    error_ns: int

    @classmethod
    def take(
        cls,
        monotonic: Callable[[], int] = steady_ns,
        system: Callable[[], int] = time.time_ns,
        reads: int = 64,
    ) -> Anchor:
        """Read the system clock between two reads of the monotonic one, and keep the tightest of `reads`."""
        return min((cls._read(monotonic, system) for _ in range(reads)), key=lambda anchor: anchor.error_ns)

    @classmethod
    def _read(cls, monotonic: Callable[[], int], system: Callable[[], int]) -> Anchor:
        before = monotonic()
        utc = system()
        after = monotonic()
        return cls((before + after) // 2, utc, (after - before + 1) // 2)

    @classmethod
    def from_environment(cls) -> Anchor:
        """The anchor the supervisor handed down, or a new one where there is no supervisor."""
        text = os.environ.get(ANCHOR_VARIABLE, "")
        return cls.from_text(text) if text else cls.take()

    @classmethod
    def from_text(cls, text: str) -> Anchor:
        """What `to_environment` has written; ValueError for anything else."""
        monotonic_ns, utc_ns, error_ns = (int(part) for part in text.split(","))
        return cls(monotonic_ns, utc_ns, error_ns)

    def to_environment(self) -> str:
        """The value of `COMFYSOAK_ANCHOR` for a child process on the same host."""
        return f"{self.monotonic_ns},{self.utc_ns},{self.error_ns}"


class AnchoredClock:
    """The clock of a run: monotonic time, shown as UTC."""

    def __init__(
        self,
        anchor: Anchor,
        monotonic: Callable[[], int] = steady_ns,
        system: Callable[[], int] = time.time_ns,
    ) -> None:
        self.anchor = anchor
        self._monotonic = monotonic
        self._system = system
        self._shift_ns = anchor.utc_ns - anchor.monotonic_ns
        self.system_offset_ns = 0
        self.read_offset()

    def now_ns(self) -> int:
        """UTC nanoseconds by the anchor."""
        return self._monotonic() + self._shift_ns

    def read_offset(self) -> int:
        """Read how far the system clock has moved from ours (ns, positive: it is ahead); call every second.

        Both run at one rate, so only being set moves it: a change that the reading's own error explains, as that of a
        process that had to wait between its two clocks, is none.
        """
        now = Anchor.take(self._monotonic, self._system, reads=4)
        offset_ns = now.utc_ns - (now.monotonic_ns + self._shift_ns)
        if abs(offset_ns - self.system_offset_ns) > now.error_ns:
            self.system_offset_ns = offset_ns
        return self.system_offset_ns

    def from_system_ns(self, stamp_ns: int) -> int:
        """A stamp of the system clock (the kernel's receive stamp) in our time."""
        return stamp_ns - self.system_offset_ns


class ManualClock:
    """A clock that stands until told to move: for tests and for simulated time."""

    def __init__(self, now_ns: int = 1_764_000_000 * NS_PER_S) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Where the clock stands."""
        return self._now_ns

    def advance(self, seconds: float) -> int:
        """Move forward by `seconds` and tell the new time in nanoseconds."""
        self._now_ns += round(seconds * NS_PER_S)
        return self._now_ns

    def set_ns(self, now_ns: int) -> None:
        """Move to `now_ns`."""
        self._now_ns = now_ns

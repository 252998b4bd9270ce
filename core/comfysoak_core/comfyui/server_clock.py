"""How far a server's clock is from the run's, measured by the prompts it runs, without any agent on its host.

A moment the server stamped lies between two of ours: a prompt was sent before the server began it, and its message was
received after it was stamped. Each stamp so bounds the offset (server's clock minus ours) from both sides:

    stamp - received  <=  offset  <  stamp + resolution - sent

The truth lies in what all these intervals have in common. Clocks drift, so a bound loosens with its age; it is dropped
after `MEMORY_NS`. When nothing is left in common, the server's clock was set (or drifts faster than any quartz).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.rows import Prompt

RESOLUTION_NS: Final = NS_PER_MS  # ComfyUI stamps whole milliseconds, cut off
DRIFT_MOST: Final = 200e-6  # seconds a second; a quartz that is not disciplined stays below 100
STEP_NS: Final = 5 * NS_PER_S  # bounds of so long are summed up as one
MEMORY_NS: Final = 300 * NS_PER_S
DRIFT_OVER_NS: Final = 60 * NS_PER_S  # a drift is told when it was watched for so long
DRIFT_ERROR_MOST: Final = 50e-6
STAMP_BELOW_MS: Final = 2**43  # the year 2248: what is later no clock shows, and beyond it ns do not fit a column
SLACK_NS: Final = 500_000  # what the clocks of a host may differ in what they call now: kernel stamps, conversions


@dataclass(frozen=True, slots=True)
class Offset:
    """The server's clock was `offset_ns` ahead of ours at `at_ns`, give or take `error_ns`.

    `drift_ppm`: microseconds a second it gains; None while it is not known well enough.
    """

    at_ns: int
    offset_ns: int
    error_ns: int
    prompts: int
    drift_ppm: float | None


@dataclass(frozen=True, slots=True)
class ClockSet:
    """The bounds contradict each other by `apart_s`: the server's clock was set meanwhile, by at least so much."""

    apart_s: float


@dataclass(slots=True)
class _Bounds:
    """What the prompts of a few seconds say: the offset lies between `low_ns` (at `low_at_ns`) and `high_ns`."""

    began_ns: int
    low_ns: int | None = None
    low_at_ns: int = 0
    high_ns: int | None = None
    high_at_ns: int = 0


class ServerClock:
    """One server's clock, as one process sees it. Its memory is bounded: sixty short stretches."""

    def __init__(self) -> None:
        self._stretches: deque[_Bounds] = deque()
        self._prompts = 0
        self._first: Offset | None = None

    def stamped(self, stamp_ns: int, after_ns: int | None, before_ns: int | None) -> None:
        """The server stamped `stamp_ns` (whole milliseconds) on something after `after_ns` and before `before_ns`."""
        at_ns = before_ns if before_ns is not None else after_ns
        if at_ns is None or (after_ns is not None and before_ns is not None and after_ns > before_ns):
            return
        bounds = self._stretch(at_ns)  # each bound is as old as our own moment in it: the stamp's may be any between
        if before_ns is not None:
            low_ns = stamp_ns - before_ns - SLACK_NS
            if bounds.low_ns is None or low_ns > bounds.low_ns:
                bounds.low_ns, bounds.low_at_ns = low_ns, before_ns
        if after_ns is not None:
            high_ns = stamp_ns + RESOLUTION_NS - after_ns + SLACK_NS
            if bounds.high_ns is None or high_ns < bounds.high_ns:
                bounds.high_ns, bounds.high_at_ns = high_ns, after_ns

    def take(self, row: Prompt) -> None:
        """What a prompt that has ended shows: when it was taken, begun and ended, by the server and by us."""
        if row.sent_ns is None or row.started_server_ns is None:
            return
        self._prompts += 1
        self.stamped(row.started_server_ns, row.sent_ns, row.start_received_ns)
        if row.created_server_ns is not None:
            self.stamped(row.created_server_ns, row.sent_ns, row.accepted_ns)
        if row.ended_server_ns is not None:
            self.stamped(row.ended_server_ns, None, row.end_received_ns)

    def offset(self, at_ns: int) -> Offset | ClockSet | None:
        """The offset at `at_ns`; None while it is not bounded from both sides.

        When the bounds contradict each other all that was known until then is forgotten.
        """
        while self._stretches and self._stretches[0].began_ns < at_ns - MEMORY_NS:
            self._stretches.popleft()
        lows = [b.low_ns - _loosened(at_ns, b.low_at_ns) for b in self._stretches if b.low_ns is not None]
        highs = [b.high_ns + _loosened(at_ns, b.high_at_ns) for b in self._stretches if b.high_ns is not None]
        if not lows or not highs:
            return None
        low_ns, high_ns = max(lows), min(highs)
        if low_ns > high_ns:
            return self._forgotten(low_ns - high_ns)
        middle_ns, error_ns = (low_ns + high_ns) // 2, (high_ns - low_ns + 1) // 2
        found = Offset(at_ns, middle_ns, error_ns, self._prompts, self._drift_ppm(at_ns, middle_ns, error_ns))
        self._first = self._first or found
        return found

    def _stretch(self, at_ns: int) -> _Bounds:
        if not self._stretches or at_ns >= self._stretches[-1].began_ns + STEP_NS:
            self._stretches.append(_Bounds(at_ns))
        return self._stretches[-1]

    def _drift_ppm(self, at_ns: int, offset_ns: int, error_ns: int) -> float | None:
        first = self._first
        if first is None or at_ns < first.at_ns + DRIFT_OVER_NS:
            return None
        passed_ns = at_ns - first.at_ns
        if (error_ns + first.error_ns) / passed_ns > DRIFT_ERROR_MOST:
            return None
        return (offset_ns - first.offset_ns) / passed_ns * 1e6

    def _forgotten(self, apart_ns: int) -> ClockSet:
        self._stretches.clear()
        self._first = None
        self._prompts = 0
        return ClockSet(apart_ns / NS_PER_S)


def stamp_ns(stamp_ms: int | None) -> int | None:
    """A server's timestamp in ns; one that no clock shows is None."""
    return stamp_ms * NS_PER_MS if stamp_ms is not None and 0 < stamp_ms < STAMP_BELOW_MS else None


def _loosened(at_ns: int, bound_ns: int) -> int:
    """How much a bound of another moment may have moved by drift."""
    return round(abs(at_ns - bound_ns) * DRIFT_MOST)

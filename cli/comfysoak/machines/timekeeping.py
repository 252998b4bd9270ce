"""When a worker asks its master for the time, and what it makes of the answers, without sockets."""

from __future__ import annotations

from comfysoak_core.clock import NS_PER_S, Anchor
from comfysoak_core.distant_clock import Exchange, best_of

PING_EVERY_S = 1.0  # also a sign of life
MEASURE_EVERY_S = 10.0
FIRST_EXCHANGES = 24
EXCHANGES = 8


class Timekeeping:
    """Pings one after the other: a burst of them is a measurement, single ones between are signs of life."""

    def __init__(self, silence_s: float) -> None:
        self._ping_every_ns = round(min(PING_EVERY_S, silence_s / 4) * NS_PER_S)
        self._measure_every_ns = round(MEASURE_EVERY_S * NS_PER_S)
        self._number = 0
        self._asked_ns: int | None = None  # when the ping left that has no answer yet
        self._last_ping_ns = 0
        self._last_measured_ns = 0
        self._exchanges: list[Exchange] = []
        self._wanted = FIRST_EXCHANGES

    @property
    def is_measuring(self) -> bool:
        """A burst goes on: whatever else is sent now makes it less exact."""
        return bool(self._exchanges) or self._wanted == FIRST_EXCHANGES

    def ping(self, now_ns: int) -> int | None:
        """The number of the ping to send now, if any; `now_ns` is the monotonic clock just before sending."""
        if self._asked_ns is not None:
            return None
        is_due = now_ns - self._last_ping_ns >= self._ping_every_ns
        if not (self.is_measuring or is_due or self._is_measurement_due(now_ns)):
            return None
        self._number += 1
        self._asked_ns = self._last_ping_ns = now_ns
        return self._number

    def pong(self, number: int, told_ns: int, now_ns: int) -> Anchor | None:
        """An answer came at `now_ns`; the measurement it completes, if any."""
        if number != self._number or self._asked_ns is None:
            return None
        asked_ns, self._asked_ns = self._asked_ns, None
        if not (self.is_measuring or self._is_measurement_due(now_ns)):
            return None
        self._exchanges.append(Exchange(asked_ns, told_ns, now_ns))
        if len(self._exchanges) < self._wanted:
            return None
        measured = best_of(self._exchanges)
        self._exchanges = []
        self._wanted = EXCHANGES
        self._last_measured_ns = now_ns
        return measured

    def cut(self) -> None:
        """The connection is gone: what was asked will not be answered."""
        self._asked_ns = None
        self._exchanges = []

    def _is_measurement_due(self, now_ns: int) -> bool:
        return now_ns - self._last_measured_ns >= self._measure_every_ns

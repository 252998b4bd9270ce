"""When an entry of a server's log was written, by stamps of a clock that is not ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from comfysoak_core.clock import NS_PER_S

DELAY_MOST_NS = 15 * NS_PER_S  # an entry that is later than this came after a pause, or by a clock that was set
SAME_DISTANCE_NS = NS_PER_S // 2
WINDOW_NS = 600 * NS_PER_S


@dataclass(slots=True)
class EntryClock:
    """When an entry was written, by the server's own stamps: naive local time of another clock.

    The smallest distance between a stamp and its arrival, of the last ten to twenty minutes with entries (clocks
    drift), is taken as the distance of the clocks, so an entry that came late is put where it belongs, also after
    minutes (we paused, or the server stood still). That its clock was set is believed when entries that arrive one
    after another keep a new distance: of entries that piled up, each has another one. No stamp: the time of arrival.
    """

    distance_ns: int | None = None
    _before_ns: int | None = None  # the smallest of the ten minutes before these
    _began_ns: int = 0
    _doubt: tuple[int, int] | None = None  # when a much later entry arrived, and its distance

    def at_ns(self, stamp: object, arrived_ns: int) -> int:
        """The moment on the run's clock."""
        stamp_ns = _stamp_ns(stamp)
        if stamp_ns is None:
            return arrived_ns
        return stamp_ns + self._distance_ns(arrived_ns - stamp_ns, arrived_ns)

    def _distance_ns(self, seen_ns: int, arrived_ns: int) -> int:
        """The distance of the clocks, now that one more was seen."""
        known_ns = self._smallest_ns(seen_ns)
        if seen_ns > known_ns + DELAY_MOST_NS:
            if not self._was_set(seen_ns, arrived_ns):
                return known_ns
            self.distance_ns = self._before_ns = None
        self._doubt = None
        if self.distance_ns is None or arrived_ns - self._began_ns > WINDOW_NS:
            self._before_ns, self.distance_ns, self._began_ns = self.distance_ns, seen_ns, arrived_ns
        self.distance_ns = min(self.distance_ns, seen_ns)
        return self._smallest_ns(seen_ns)

    def _smallest_ns(self, seen_ns: int) -> int:
        known = [distance_ns for distance_ns in (self.distance_ns, self._before_ns) if distance_ns is not None]
        return min(known, default=seen_ns)

    def _was_set(self, seen_ns: int, arrived_ns: int) -> bool:
        """Whether an entry that arrived at least a second earlier had this distance, too."""
        if self._doubt is None or abs(seen_ns - self._doubt[1]) > SAME_DISTANCE_NS:
            self._doubt = arrived_ns, seen_ns
            return False
        return arrived_ns - self._doubt[0] >= NS_PER_S


def _stamp_ns(stamp: object) -> int | None:
    try:
        moment = datetime.fromisoformat(str(stamp)[:40])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000) * 1000
    except (ValueError, OverflowError, OSError):
        return None

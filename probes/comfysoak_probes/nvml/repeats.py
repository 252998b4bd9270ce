"""The same event again and again: told at once, then counted for a while. Page faults come by the thousand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event

COUNTED_NS: Final = 10 * NS_PER_S


@dataclass(slots=True)
class _Repeated:
    event: Event  # the last one
    until_ns: int
    count: int = 0


@dataclass(slots=True)
class Repeats:
    """Lets the first of equal events through, and tells every 10 s how many followed it."""

    _repeated: dict[tuple[str | None, str], _Repeated] = field(default_factory=dict)

    def filter(self, event: Event) -> list[Event]:
        """The event, unless an equal one was told less than 10 s ago."""
        key = (event.subject, event.detail)
        known = self._repeated.get(key)
        if known is None:
            self._repeated[key] = _Repeated(event, event.at_ns + COUNTED_NS)
            return [event]
        known.event = event
        known.count += 1
        return []

    def due(self, now_ns: int) -> list[Event]:
        """What was counted and is to be told now, at the time of the last one."""
        over = [(key, repeated) for key, repeated in self._repeated.items() if repeated.until_ns <= now_ns]
        told: list[Event] = []
        for key, repeated in over:
            if not repeated.count:
                del self._repeated[key]
                continue
            told.append(replace(repeated.event, detail=f"{repeated.event.detail}, {repeated.count} more times"))
            repeated.count, repeated.until_ns = 0, now_ns + COUNTED_NS
        return told

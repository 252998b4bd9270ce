"""When each kind of probe is switched off for a while, so that analysis can tell what watching costs the server.

The moments are fixed to the start of the sampler: the n-th pause begins `n * every_s` after it, whatever happens
between. The kinds take turns, those that there are.
"""

from __future__ import annotations

from collections.abc import Collection

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event
from comfysoak_core.value import value
from comfysoak_probes.config import Pause
from comfysoak_probes.source import SAMPLER, Kind


@value()
class Off:
    """A kind that is not asked until a moment."""

    kind: Kind
    until_ns: int


class Pauses:
    """Which kind is switched off now. One thread calls `turn`; all may look at `off`."""

    def __init__(self, pause: Pause | None, start_ns: int) -> None:
        self._pause = pause
        self._start_ns = start_ns
        self._every_ns = round(pause.every_s * NS_PER_S) if pause is not None else 0
        self._begun = 0  # the number of the last pause that was begun, or passed over
        self._turns = [kind for kind in Kind if kind is not Kind.PROBE]  # that one samples on by itself
        self.off: Off | None = None

    def until_ns(self, kind: Kind) -> int:
        """Until when sources of this kind are not asked; 0 when they are."""
        off = self.off
        return off.until_ns if off is not None and off.kind is kind else 0

    def is_due(self, now_ns: int) -> bool:
        """Whether `turn` has something to do."""
        if self.off is not None:
            return now_ns >= self.off.until_ns
        return self._pause is not None and (now_ns - self._start_ns) // self._every_ns > self._begun

    def turn(self, now_ns: int, kinds: Collection[Kind]) -> list[Event]:
        """Begin and end what is due; the events of it. `kinds` are those there is something to switch off of."""
        if self._pause is None:
            return []
        events: list[Event] = []
        if self.off is not None and now_ns >= self.off.until_ns:
            events.append(_event(now_ns, "probe_resumed", self.off.kind, "it is asked again"))
            self.off = None
        number, into_ns = divmod(now_ns - self._start_ns, self._every_ns)
        left_ns = round(self._pause.lasts_s * NS_PER_S) - into_ns
        if number > self._begun:
            self._begun = number
            events += self._begin(now_ns, now_ns + left_ns, kinds) if left_ns > 0 else []
        return events

    def _begin(self, now_ns: int, until_ns: int, kinds: Collection[Kind]) -> list[Event]:
        kind = next((kind for kind in self._turns if kind in kinds), None)
        if kind is None:
            return []
        self._turns.remove(kind)
        self._turns.append(kind)
        self.off = Off(kind, until_ns)
        detail = f"not asked for {(until_ns - now_ns) / NS_PER_S:.1f} s, to learn what watching costs"
        return [_event(now_ns, "probe_paused", kind, detail)]


def _event(at_ns: int, kind: str, probe: Kind, detail: str) -> Event:
    return Event(at_ns=at_ns, source=SAMPLER, kind=kind, subject=probe.value, detail=detail)

"""How far a run has got in the rings that answer at one address: mostly one; another after a restart of the probe."""

from __future__ import annotations

from dataclasses import dataclass, field

from comfysoak_probes.remote.clock import RemoteClock
from comfysoak_probes.remote.cursors import Cursor

RINGS_MOST = 8  # of machines that answer by turns


@dataclass(slots=True)
class Position:
    """How far we are in one ring; `after` None: not known yet."""

    ring: str = ""
    after: int | None = None
    ahead_ns: int = 0  # at the first measurement: by this the start times of processes are moved, and stay the same
    clock: RemoteClock = field(default_factory=RemoteClock)
    is_told: bool = False  # whose ring it is

    @classmethod
    def of(cls, cursor: Cursor) -> Position:
        """Where an earlier sampler of this run stopped."""
        return cls(cursor.ring, cursor.after, cursor.ahead_ns, RemoteClock(cursor.points))

    def cursor(self) -> Cursor:
        """For the sampler that goes on when this one is gone."""
        return Cursor(self.ring, self.after or 0, self.ahead_ns, self.clock.essence)


class Positions:
    """Where we are in the ring that answers now (`here`), and were in those that answered before it."""

    def __init__(self, here: Position) -> None:
        self.here = here
        self._left: dict[str, Position] = {}

    def turn_to(self, ring: str) -> bool:
        """Go on in this ring; whether it is new."""
        if len(self._left) >= RINGS_MOST:
            del self._left[next(iter(self._left))]
        self._left[self.here.ring] = self.here
        known = self._left.pop(ring, None)
        self.here = known or Position(ring)
        return known is None

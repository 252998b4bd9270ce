"""What all processes of a test are told when its course takes a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.parts import Now
from comfysoak_core.scenario.stage import Stage


@dataclass(frozen=True, slots=True)
class Turn:
    """From here on stage `stage` is on; `count` numbers the turns of a test, from 1.

    While `sends`, what is due at an offset of the stage between `from_s` and `until_s` is due at `zero_ns` + offset;
    otherwise nothing is sent; `draining`: nor will be. While it is not `attended`, watchers are away. `deal` names the
    load processes that share the load, in the order of their parts; empty where there is only one.
    """

    count: int
    stage: int
    phase: str
    sends: bool
    draining: bool
    attended: bool
    began_ns: int
    zero_ns: int
    from_s: float
    until_s: float
    level: float | None = None  # of a trial of a search for capacity
    deal: tuple[str, ...] = ()

    @classmethod
    def of(cls, now: Now, count: int, *, course_ns: int, now_ns: int) -> Turn:
        """The turn that brings about `now`, which is at `now_ns`; the course began at `course_ns`."""
        leg = now.leg
        zero_ns = course_ns + round(leg.zero_s * NS_PER_S) if leg is not None else 0
        from_s, until_s = (leg.from_s, leg.until_s) if leg is not None else (now.load_s, now.load_s)
        return cls(
            count=count,
            stage=now.number,
            phase=now.phase,
            sends=leg is not None,
            draining=now.draining,
            attended=now.attended,
            began_ns=zero_ns + round(from_s * NS_PER_S) if leg is not None else now_ns,
            zero_ns=zero_ns,
            from_s=from_s,
            until_s=until_s,
            level=now.trial.trial.level if now.trial is not None else None,
        )

    def dealt(self, deal: tuple[str, ...], from_ns: int = 0) -> Turn:
        """The same turn, shared by the load processes of these ids; of what is due from `from_ns` on."""
        from_s = max(self.from_s, (from_ns - self.zero_ns) / NS_PER_S) if self.sends else self.from_s
        return replace(self, deal=deal, from_s=from_s)

    def part_of(self, client_id: str) -> tuple[int, int] | None:
        """Which part of how many is for a load process; None: it came after the deal, and the next is for it too."""
        if client_id in self.deal:
            return self.deal.index(client_id), len(self.deal)
        return None if self.deal else (0, 1)

    def in_words(self, stages: Sequence[Stage]) -> str:
        """For the journal: `stage 1 of 3: 8 users for 60 s`."""
        stage, which = stages[self.stage], f"stage {self.stage + 1} of {len(stages)}"
        if self.draining:
            return f"nothing more is sent, after {which}"
        if stage.search is not None and self.level is not None:
            return f"{which}: {stage.search.level_in_words(self.level)}"
        if self.sends and self.from_s > 0:
            return f"{which} goes on after {self.from_s:g} s"
        if self.sends or stage.cold_start is not None:
            return f"{which}: {stage.load_in_words} for {'at most ' if not self.sends else ''}{stage.duration_s:g} s"
        return f"{which} settles after {self.from_s:g} s"

    @classmethod
    def from_message(cls, data: dict[str, Any]) -> Turn:
        """The turn a message of Locust brought."""
        return cls(**{**data, "deal": tuple(data["deal"])})

    def to_message(self) -> dict[str, Any]:
        """As Locust's messages carry it."""
        return asdict(self)

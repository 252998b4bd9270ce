"""The parts a run goes through, one for each stage and one for its end: what should be now, and when it is over.

Pure: a part is asked with the facts of a moment and answers with what should be; nobody sleeps or sends here. A new
kind of stage is one more class with `at`, and a line in `course.part_of`.

All times are seconds of the course's clock, which begins with the load and never goes back. A stage has a *load clock*
beside it, which counts only while there is load: a settle stops it, and it goes on afterwards where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from comfysoak_core.scenario.search import Trial
from comfysoak_core.scenario.stage import ERRAND_GRACE_S, SETTLE, ColdStart, Settle, Stage


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the goals held at a level; `of` names its stage, its trial, and how often it was judged, this time too.

    Not `sure`: there were too few prompts to tell, and `held` is as far as was seen.
    """

    of: tuple[int, int, int]
    held: bool
    sure: bool


@dataclass(frozen=True, slots=True)
class TrialNow:
    """The trial that is on, in its `round`; once it has `ended` its prompts, those of `phase`, wait to be judged."""

    trial: Trial
    phase: str
    round: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is the case at `now_s`.

    `idle`: no prompt is open in any process, and each has said so since the course took its last turn; while watchers
    are to be away, no socket is open either. `errands_done` is the highest number of an errand that has ended.
    """

    now_s: float
    idle: bool = False
    errands_done: int = 0
    judgement: Judgement | None = None  # the last that came, on a level of a search


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of load without a break: the load clock goes from `from_s` to `until_s`; its zero lies at `zero_s`.

    What is due at an offset of the stage is due at `zero_s` + offset.
    """

    zero_s: float
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Errand:
    """What is done to the servers while nothing is sent. `number` counts the errands of a run, from 1."""

    number: int
    what: Settle | ColdStart
    limit_s: float


@dataclass(frozen=True, slots=True)
class Now:
    """What should be at a moment.

    `number` is the stage's, from 0 (the last one's at the end of a run); `load_s` what its load clock reads. Without a
    `leg` nothing is sent: users pause, arrivals wait with the load clock. `attended` is False while watchers are to be
    away: their server is about to go. `draining`: no stage is on any more, and what is open ends.
    """

    number: int
    phase: str
    load_s: float
    users: int
    leg: Leg | None = None
    errand: Errand | None = None
    attended: bool = True
    draining: bool = False
    trial: TrialNow | None = None

    @property
    def turn(self) -> tuple[object, ...]:
        """What all processes must be told of when it changes; levels change without a turn."""
        return self.number, self.phase, self.leg, self.errand, self.attended, self.draining, self.trial


@dataclass(frozen=True, slots=True)
class Over:
    """The part was over at `at_s`: the next one begins at that moment, however late somebody asks."""

    at_s: float


class Part(Protocol):
    """A stage that is gone through, or the end of the run. It begins when it is made."""

    def at(self, facts: Facts) -> Now | Over:
        """What should be. Asked for the first time it answers with a `Now`, so that no stage is passed over unseen."""


class LoadPart:
    """Users or arrivals for as long as the stage lasts by its load clock, with a settle every so often."""

    def __init__(self, stage: Stage, number: int, began_s: float, errands: Iterator[int], *, patience_s: float) -> None:
        self._stage = stage
        self._number = number
        self._errands = errands
        self._patience_s = patience_s
        self._settles = 0
        self._leg = self._leg_from(began_s, 0.0)
        self._is_new = True  # the leg has not been shown yet
        self._pause: _Pause | None = None
        self._emptying: _Emptying | None = None

    def at(self, facts: Facts) -> Now | Over:
        """On its way, settling, or, at the end of a block, waiting for what is open."""
        if self._emptying is not None:
            return Over(facts.now_s) if self._emptying.is_over(facts) else self._emptied()
        if self._pause is not None:
            if not self._pause.is_over(facts):
                return self._paused(self._pause)
            self._pause, self._settles = None, self._settles + 1
            if self._leg.until_s >= self._stage.duration_s:
                return Over(facts.now_s)
            self._leg, self._is_new = self._leg_from(facts.now_s, self._leg.until_s), True
        load_s = facts.now_s - self._leg.zero_s
        if load_s < self._leg.until_s or self._is_new:
            self._is_new = False
            return self._under_load(min(load_s, self._leg.until_s))
        return self._at_end_of_leg(self._leg.zero_s + self._leg.until_s, facts)

    def _at_end_of_leg(self, at_s: float, facts: Facts) -> Now | Over:
        if self._stage.block is not None:
            self._emptying = _Emptying(max(at_s, facts.now_s) + self._patience_s)
            self._emptying.is_over(facts)
            return self._emptied()
        settle = self._stage.settle
        if settle is None or self._leg.until_s < self._next_settle_s:
            return Over(at_s)
        errand = Errand(next(self._errands), settle, settle.limit_s)
        self._pause = _Pause(errand, max(at_s, facts.now_s), self._patience_s)
        self._pause.is_over(facts)
        return self._paused(self._pause)

    def _leg_from(self, now_s: float, load_s: float) -> Leg:
        until_s = min(self._stage.duration_s, self._next_settle_s)
        return Leg(zero_s=now_s - load_s, from_s=load_s, until_s=until_s)

    @property
    def _next_settle_s(self) -> float:
        settle = self._stage.settle
        return (self._settles + 1) * settle.every_s if settle is not None else float("inf")

    def _under_load(self, load_s: float) -> Now:
        return Now(self._number, self._stage.phase, load_s, self._stage.users_at(load_s), self._leg)

    def _emptied(self) -> Now:
        """Users stay, and send nothing; no arrival is due."""
        load_s = self._leg.until_s
        return Now(self._number, self._stage.phase, load_s, self._stage.users_at(load_s))

    def _paused(self, pause: _Pause) -> Now:
        """Users stay, with their sockets, and send nothing."""
        load_s = self._leg.until_s
        return Now(self._number, SETTLE, load_s, self._stage.users_at(load_s), errand=pause.errand)


class ColdStartPart:
    """All users leave, then the servers start anew."""

    def __init__(
        self,
        stage: Stage,
        what: ColdStart,
        number: int,
        began_s: float,
        errands: Iterator[int],
        *,
        patience_s: float,
    ) -> None:
        self._stage = stage
        self._number = number
        errand = Errand(next(errands), what, stage.duration_s)
        self._pause = _Pause(errand, began_s, patience_s)

    def at(self, facts: Facts) -> Now | Over:
        """Waiting for the users to be gone, or for the errand."""
        if self._pause.is_over(facts):
            return Over(facts.now_s)
        return Now(self._number, self._stage.phase, 0.0, 0, errand=self._pause.errand, attended=False)


class DrainPart:
    """Nothing more is sent; what is open ends within `patience_s`. Users leave when their prompt has ended."""

    def __init__(self, number: int, phase: str, began_s: float, *, patience_s: float) -> None:
        self._number = number
        self._phase = phase
        self._emptying = _Emptying(began_s + patience_s)

    def at(self, facts: Facts) -> Now | Over:
        """Until no prompt is open."""
        if self._emptying.is_over(facts):
            return Over(facts.now_s)
        return Now(self._number, self._phase, 0.0, 0, draining=True)


class _Emptying:
    """What is open ends, until `give_up_s` at the latest."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._is_told = False  # facts are of the time before until the pause has been told

    def is_over(self, facts: Facts) -> bool:
        """Whether nothing is open any more, or the time is up."""
        over = self._is_told and (facts.idle or facts.now_s >= self._give_up_s)
        self._is_told = True
        return over


class _Pause:
    """First what is open ends, at most `patience_s`; then an errand is run, at most for its limit."""

    def __init__(self, errand: Errand, began_s: float, patience_s: float) -> None:
        self._errand = errand
        self._emptying = _Emptying(began_s + patience_s)
        self._left_behind_s: float | None = None  # set when the errand begins

    @property
    def errand(self) -> Errand | None:
        """The errand, once it is to run."""
        return self._errand if self._left_behind_s is not None else None

    def is_over(self, facts: Facts) -> bool:
        """Whether the errand has ended, or was left behind."""
        if self._left_behind_s is not None:
            return facts.errands_done >= self._errand.number or facts.now_s >= self._left_behind_s
        if self._emptying.is_over(facts):
            self._left_behind_s = facts.now_s + self._errand.limit_s + ERRAND_GRACE_S
        return False

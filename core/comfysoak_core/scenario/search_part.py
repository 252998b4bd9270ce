"""A search for capacity, as it is gone through: each level is held, ends, is judged by somebody else, and leads on.

    warm-up  ->  measured  ->  what is open ends  ->  judged  ->  held on longer, or the next level, or over

Pure, as all parts of a course are.
"""

from __future__ import annotations

from dataclasses import dataclass

from comfysoak_core.scenario.parts import Facts, Judgement, Leg, Now, Over, TrialNow
from comfysoak_core.scenario.search import Trial
from comfysoak_core.scenario.stage import JUDGE_WITHIN_S, TRIAL, WARMUP, CapacitySearch, Stage


@dataclass(slots=True)
class _Hold:
    """One level that is being held. Its load clock begins with its warm-up and does not count while it is judged."""

    trial: Trial
    phase: str
    leg: Leg
    round: int = 1  # how often it was judged, and this time
    ending_since_s: float | None = None  # the load of this round is over, prompts end
    judged_since_s: float | None = None  # they have ended, somebody judges


class SearchPart:
    """Levels, one after the other, until the question is decided or the stage has lasted as long as it may.

    `name` tells its phases from those of another search in the same run.
    """

    def __init__(
        self, stage: Stage, what: CapacitySearch, number: int, began_s: float, *, patience_s: float, name: str = ""
    ) -> None:
        self._what = what
        self._name = name
        self._number = number
        self._over_s = began_s + stage.duration_s
        self._patience_s = patience_s
        self._search = what.search()
        self._hold = self._hold_next(began_s)

    def at(self, facts: Facts) -> Now | Over:
        """What should be; over once the search is."""
        hold = self._hold
        while hold is not None:
            now = self._during(hold, facts)
            if now is not None:
                return now
            hold = self._hold = self._after(hold, facts)
        return Over(facts.now_s)

    def _during(self, hold: _Hold, facts: Facts) -> Now | None:
        """What should be while this round of the level goes on; None when its judgement has come."""
        load_s = facts.now_s - hold.leg.zero_s
        if hold.ending_since_s is None:
            if load_s < hold.leg.until_s:
                return self._now(hold, hold.phase, load_s, hold.leg)
            if hold.leg.until_s <= self._what.discard_s:  # the warm-up is over
                hold.phase = self._phase_of(hold.trial)
                hold.leg = Leg(hold.leg.zero_s, hold.leg.until_s, self._what.discard_s + self._what.hold_s)
                return self._now(hold, hold.phase, min(load_s, hold.leg.until_s), hold.leg)
            hold.ending_since_s = facts.now_s
            return self._now(hold, hold.phase, hold.leg.until_s)
        if hold.judged_since_s is None:
            if not facts.idle and facts.now_s < hold.ending_since_s + self._patience_s:
                return self._now(hold, hold.phase, hold.leg.until_s)
            hold.judged_since_s = facts.now_s
        if self._judgement_on(hold, facts) is not None or facts.now_s >= hold.judged_since_s + JUDGE_WITHIN_S:
            return None
        return self._now(hold, hold.phase, hold.leg.until_s, ended=True)

    def _after(self, hold: _Hold, facts: Facts) -> _Hold | None:
        """The next level, the same for longer, or None: the question is decided, or nobody answers."""
        found = self._judgement_on(hold, facts)
        if found is None:
            return None
        until_s = hold.leg.until_s + self._what.hold_s
        if not found.sure and until_s <= self._what.discard_s + self._what.hold_most_s and facts.now_s < self._over_s:
            leg = Leg(facts.now_s - hold.leg.until_s, hold.leg.until_s, until_s)
            return _Hold(hold.trial, hold.phase, leg, hold.round + 1)
        self._search.judge(held=found.held, sure=found.sure)
        return self._hold_next(facts.now_s) if facts.now_s < self._over_s else None

    def _judgement_on(self, hold: _Hold, facts: Facts) -> Judgement | None:
        """The judgement that has come, if it is on this round of this level."""
        found = facts.judgement
        return found if found is not None and found.of == (self._number, hold.trial.number, hold.round) else None

    def _hold_next(self, now_s: float) -> _Hold | None:
        trial = self._search.next
        if trial is None:
            return None
        warms_up = self._what.discard_s > 0
        until_s = self._what.discard_s if warms_up else self._what.hold_s
        return _Hold(trial, WARMUP if warms_up else self._phase_of(trial), Leg(now_s, 0.0, until_s))

    def _phase_of(self, trial: Trial) -> str:
        said = (self._what.level_in_words(trial.level), "again" if trial.again else "", self._name)
        return TRIAL + ", ".join(filter(None, said))

    def _now(self, hold: _Hold, phase: str, load_s: float, leg: Leg | None = None, *, ended: bool = False) -> Now:
        trial = TrialNow(hold.trial, self._phase_of(hold.trial), hold.round, ended=ended)
        users = round(hold.trial.level) if self._what.counts_users else 0
        return Now(self._number, phase, load_s, users, leg, trial=trial)

"""A search for capacity, gone through on a clock of our own against a server of known capacity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from comfysoak_core.scenario.arrivals import arrival_offsets
from comfysoak_core.scenario.course import Course
from comfysoak_core.scenario.parts import Facts, Judgement, Now
from comfysoak_core.scenario.search import Search
from comfysoak_core.scenario.stage import JUDGE_WITHIN_S, TRIAL, WARMUP, CapacitySearch, Stage

STEP_S = 0.5
PATIENCE_S = 20.0


def searching(**changes: object) -> CapacitySearch:
    values: dict[str, object] = {
        "counts_users": True, "low": 1, "high": 8, "hold_s": 10, "hold_most_s": 30, "discard_s": 2,
        "factor": 2, "within": 0.1, "goals": ("prompts.latency.p90 < 30s",),
    } | changes  # fmt: skip
    return CapacitySearch.model_validate(values)


@dataclass
class Walk:
    """What was seen on the way through a course: (from when, phase, users, whether prompts were sent)."""

    turns: list[tuple[float, str, int, bool]] = field(default_factory=list)
    levels: list[float] = field(default_factory=list)
    ended_s: float = 0.0

    @property
    def trials(self) -> list[str]:
        """The phases that were measured, in order."""
        return [phase for _, phase, _, sends in self.turns if sends and phase.startswith(TRIAL)]


Answer = Callable[[float], tuple[bool, bool]]


def walked(what: CapacitySearch, answer: Answer, *, lasts_s: float = 10_000, idle_after_s: float = 1.0) -> Walk:
    """Goes through a stage with this search; `answer` says for a level whether it held, and whether that is sure."""
    course = Course([Stage(duration_s=lasts_s, search=what)], patience_s=PATIENCE_S)
    walk, now_s, judgement, before, ending_s = Walk(), 0.0, None, None, 0.0
    while now_s < 100_000:
        now = course.at(Facts(now_s, idle=now_s - ending_s >= idle_after_s, judgement=judgement))
        if now is None:
            walk.ended_s = now_s
            return walk
        if before is None or now.turn != before.turn:
            walk.turns.append((now_s, now.phase, now.users, now.leg is not None))
            ending_s = now_s
        judgement = judged(now, answer, walk) or judgement
        before, now_s = now, now_s + STEP_S
    raise AssertionError("the course does not end")


def judged(now: Now, answer: Answer, walk: Walk) -> Judgement | None:
    if now.trial is None or not now.trial.ended:
        return None
    if len(walk.levels) < now.trial.trial.number:
        walk.levels.append(now.trial.trial.level)
    held, sure = answer(now.trial.trial.level)
    return Judgement((now.number, now.trial.trial.number, now.trial.round), held, sure)


def test_each_level_warms_up_is_held_ends_and_leads_on() -> None:
    """Two seconds of warm-up, ten measured, a pause in which nothing is sent: then the next level."""
    walk = walked(searching(high=2), lambda _: (True, True))
    assert walk.turns[:4] == [
        (0.0, WARMUP, 1, True),
        (2.0, f"{TRIAL}1 user", 1, True),
        (12.0, f"{TRIAL}1 user", 1, False),
        (13.0, f"{TRIAL}1 user", 1, False),
    ]
    assert walk.trials == [f"{TRIAL}1 user", f"{TRIAL}2 users", f"{TRIAL}2 users, again"]


def test_the_levels_are_those_of_the_search() -> None:
    """The course tries what the pure search asks for, with the same answers."""
    walk = walked(searching(high=64), lambda users: (users <= 11, True))
    search = Search(low=1, high=64, whole=True)
    levels = []
    while search.next is not None:
        levels.append(search.next.level)
        search.judge(held=search.next.level <= 11, sure=True)
    assert walk.levels == levels


def test_a_level_is_held_on_where_there_were_too_few_prompts() -> None:
    """Three times ten seconds under the same phase, no more; then it is gone by as seen."""
    walk = walked(searching(high=1), lambda _: (True, False))
    first, second, third, again, *_ = [at for at, phase, _, sends in walk.turns if sends and phase.startswith(TRIAL)]
    assert walk.trials[:3] == [f"{TRIAL}1 user"] * 3
    assert second - first >= 10
    assert third - second >= 10
    assert walk.trials[3] == f"{TRIAL}1 user, again"
    assert again > third


def test_prompts_that_do_not_end_do_not_stop_the_search() -> None:
    """After the patience of the run the level is judged with what it has."""
    walk = walked(searching(high=1), lambda _: (False, True), idle_after_s=1e9)
    assert walk.levels == [1]
    assert 12 + PATIENCE_S <= walk.ended_s < 12 + 3 * PATIENCE_S


def test_nobody_judges() -> None:
    """Without an answer the search ends, and so does the run."""
    course = Course([Stage(duration_s=10_000, search=searching())], patience_s=PATIENCE_S)
    now_s = 0.0
    while course.at(Facts(now_s, idle=True)) is not None:
        now_s += STEP_S
    assert JUDGE_WITHIN_S <= now_s < JUDGE_WITHIN_S + 20


def test_the_stage_may_last_no_longer() -> None:
    """A level that was begun is gone through with; no other follows."""
    walk = walked(searching(), lambda _: (True, True), lasts_s=20)
    assert walk.levels == [1, 2]


def test_a_stage_knows_what_it_needs_at_most() -> None:
    """Users and arrivals of its highest level, and the time a whole search takes."""
    users = Stage(duration_s=100, search=searching())
    rate = Stage(duration_s=100, search=searching(counts_users=False, low=0.1, high=3, in_flight_most=40))
    assert (users.users_most, users.in_flight_most) == (8, 0)
    assert (rate.users_most, rate.in_flight_most, rate.is_open) == (0, 40, True)
    arrivals = rate.at_level(0.5).arrivals
    assert arrivals is not None
    assert (arrivals.rate_per_s.highest, arrivals.in_flight_most) == (0.5, 40)
    assert users.at_level(4).users_at(3) == 4
    walk = walked(searching(), lambda _: (True, False))
    assert walk.ended_s <= searching().longest_s(PATIENCE_S) + PATIENCE_S


def test_a_second_search_is_judged_by_itself() -> None:
    """What came of the first one's last level is no answer for the second, and its phases have other names."""
    part = Stage(duration_s=10_000, search=searching(discard_s=0))
    course = Course([part, part], patience_s=PATIENCE_S)
    now_s, judgement, measured = 0.0, None, []
    while (now := course.at(Facts(now_s, idle=True, judgement=judgement))) is not None:
        if now.leg is not None and now.phase not in measured:
            measured.append(now.phase)
        judgement = judged(now, lambda _: (False, True), Walk()) if now.number == 0 else judgement
        judgement, now_s = judgement or Judgement((0, 1, 1), held=False, sure=True), now_s + STEP_S
    assert measured == [f"{TRIAL}1 user", f"{TRIAL}1 user, search 2"]
    assert now_s > JUDGE_WITHIN_S


def test_a_level_has_arrivals_to_its_end() -> None:
    """Also where its stage may not last as long as that: what was begun is gone through with."""
    what = searching(counts_users=False, low=2, hold_s=60, hold_most_s=180, discard_s=10)
    stage = Stage(duration_s=30, search=what).at_level(2)
    assert stage.arrivals is not None
    offsets = list(arrival_offsets(stage.duration_s, stage.arrivals.rate_per_s, "constant", Random(1)))
    assert offsets[-1] == 189.5

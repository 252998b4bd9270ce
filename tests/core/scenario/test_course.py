"""A course, walked with facts as a table: no clock runs here."""

from __future__ import annotations

import sys

import pytest

from comfysoak_core.scenario.course import Course
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.parts import Facts, Leg, Now
from comfysoak_core.scenario.plan import LAST_PATIENCE_S
from comfysoak_core.scenario.stage import ERRAND_GRACE_S, ColdStart, Settle, Stage

Row = tuple[float, dict[str, int]]
QUIET: dict[str, int] = {"idle": True}
BUSY: dict[str, int] = {}


def stage(duration_s: float, users: int = 2, **more: object) -> Stage:
    return Stage.model_validate({"duration_s": duration_s, "users": Line.level(users), **more})


def course_of(*stages: Stage, **more: float) -> Course:
    return Course(stages, **{"patience_s": 100.0, **more})


def words(now: Now | None) -> str:
    """What should be, in short: stage, phase, load clock, users, and what is done beside."""
    if now is None:
        return "over"
    beside = "send" if now.leg else "errand" if now.errand else "hold"
    return f"{now.number} {now.phase} {now.load_s:g} {now.users} {beside}"


def walked(course: Course, *table: Row) -> list[str]:
    return [words(course.at(Facts(now_s, **facts))) for now_s, facts in table]  # type: ignore[arg-type]  # by name


def test_stages_follow_one_another_on_the_second() -> None:
    """However late it is asked, a stage begins when the one before was over."""
    course = course_of(stage(10, phase="warmup"), stage(10, users=5))
    assert walked(course, (0, {}), (9.9, {}), (10.3, {}), (19.9, {}), (20.2, {}), (20.3, QUIET)) == [
        "0 warmup 0 2 send",
        "0 warmup 9.9 2 send",
        "1 load 0.3 5 send",
        "1 load 9.9 5 send",
        "1 load 0 0 hold",
        "over",
    ]


def test_a_ramp_goes_by_the_load_clock() -> None:
    """Users are those of the curve at the stage's own time."""
    course = course_of(stage(10), Stage(duration_s=10, users=Line(start=0, end=10)))
    assert [words(course.at(Facts(now_s))) for now_s in (0, 10, 12, 19)] == [
        "0 load 0 2 send",
        "1 load 0 0 send",
        "1 load 2 2 send",
        "1 load 9 9 send",
    ]


def test_no_stage_is_passed_over_unseen() -> None:
    """After a long silence each stage is entered all the same, at its own time, one at each question."""
    course = course_of(stage(1, phase="a"), stage(1, phase="b"), stage(1, phase="c"))
    legs = []
    for now_s in (0, 7, 7.1, 7.2, 7.3):
        now = course.at(Facts(now_s, idle=True))
        legs.append(now.leg if now else None)
    assert legs == [Leg(0, 0, 1), Leg(1, 0, 1), Leg(2, 0, 1), None, None]


def test_open_prompts_end_before_the_run_does() -> None:
    """The end waits for what is open, and not for ever; what was open before is no news."""
    course = course_of(stage(10))
    assert walked(course, (0, {}), (10, QUIET), (11, BUSY), (13, QUIET))[1:] == [
        "0 load 0 0 hold",
        "0 load 0 0 hold",
        "over",
    ]
    assert walked(course_of(stage(10)), (0, {}), (10, BUSY), (109, BUSY), (110, BUSY))[2:] == [
        "0 load 0 0 hold",
        "over",
    ]


def test_a_settle_stops_the_load_clock() -> None:
    """What is open ends, the errand runs, and the stage goes on where it was, also with what is due."""
    course = course_of(stage(20, settle=Settle(every_s=8, wait_s=5)))
    table: list[Row] = [
        (0, {}),
        (8.25, QUIET),
        (9, BUSY),
        (12, BUSY),
        (13, QUIET),
        (20, {}),
        (30, {"errands_done": 1}),
        (37.75, {"errands_done": 1}),
    ]
    assert walked(course, *table) == [
        "0 load 0 2 send",
        "0 settle 8 2 hold",
        "0 settle 8 2 hold",
        "0 settle 8 2 hold",
        "0 settle 8 2 errand",
        "0 settle 8 2 errand",
        "0 load 8 2 send",
        "0 load 15.75 2 send",
    ]
    now = course.at(Facts(37.9, errands_done=1))
    assert now is not None
    assert now.leg == Leg(zero_s=22, from_s=8, until_s=16)


def test_a_stage_ends_with_the_settle_that_falls_on_its_end() -> None:
    """So a soak whose length is a whole number of settles ends with a reading of its memory."""
    course = course_of(stage(8, settle=Settle(every_s=4)), stage(5, phase="next"))
    seen: list[str] = []
    now_s, done = 0.0, 0
    for _ in range(200):
        now = course.at(Facts(now_s, idle=True, errands_done=done))
        if now is None:
            break
        if now.errand is not None:
            done = now.errand.number
        if not seen or seen[-1] != now.phase:
            seen.append(now.phase)
        now_s += 0.5
    assert seen == ["load", "settle", "load", "settle", "next"]
    assert done == 2


def test_an_errand_that_never_ends_is_left_behind() -> None:
    """Neither it nor prompts that never end hold up the run."""
    course = course_of(stage(20, settle=Settle(every_s=10, wait_s=5)), patience_s=7.0)
    assert walked(course, (0, {}), (10, BUSY), (16.9, BUSY), (17, BUSY)) == [
        "0 load 0 2 send",
        "0 settle 10 2 hold",
        "0 settle 10 2 hold",
        "0 settle 10 2 errand",
    ]
    now = course.at(Facts(18))
    assert now is not None
    assert now.errand is not None
    late_s = 17 + now.errand.limit_s + ERRAND_GRACE_S
    assert walked(course, (late_s - 0.1, BUSY), (late_s, BUSY)) == ["0 settle 10 2 errand", "0 load 10 2 send"]


def test_the_end_of_an_older_errand_ends_no_other() -> None:
    """Errands are numbered through the run."""
    course = course_of(stage(30, settle=Settle(every_s=10)))
    table: list[Row] = [(0, {}), (10, {}), (11, QUIET), (12, {"errands_done": 1})]
    table += [(22, {"errands_done": 1}), (23, {"idle": True, "errands_done": 1}), (24, {"errands_done": 1})]
    assert walked(course, *table)[-3:] == ["0 settle 20 2 hold", "0 settle 20 2 errand", "0 settle 20 2 errand"]


def test_a_cold_start_waits_until_all_users_are_gone() -> None:
    """Not even watchers hold a socket that would break, and the load begins when the servers are there."""
    course = course_of(Stage(duration_s=60, cold_start=ColdStart(), phase="cold start"), stage(10))
    now = course.at(Facts(0))
    assert now is not None
    assert (words(now), now.attended) == ("0 cold start 0 0 hold", False)
    table: list[Row] = [
        (1, BUSY),
        (2, QUIET),
        (40, {}),
        (41, {"errands_done": 1}),
        (42, {"errands_done": 1}),
    ]
    assert walked(course, *table) == [
        "0 cold start 0 0 hold",
        "0 cold start 0 0 errand",
        "0 cold start 0 0 errand",
        "1 load 0 2 send",
        "1 load 1 2 send",
    ]


@pytest.mark.parametrize(
    ("stages", "asked_s"),
    [
        ((stage(100),), (0, 29)),
        ((stage(10), stage(100, settle=Settle(every_s=5))), (0, 10, 15, 16, 29)),
        ((Stage(duration_s=60, cold_start=ColdStart()),), (0, 1, 29)),
    ],
)
def test_a_run_ends_at_its_longest_duration_whatever_is_on(stages: tuple[Stage, ...], asked_s: tuple[float]) -> None:
    """Nothing more is sent and no errand goes on; what is open has half a minute."""
    course = course_of(*stages, max_duration_s=30.0)
    for now_s in asked_s:
        assert course.at(Facts(now_s)) is not None
    before = course.cut_short
    now = course.at(Facts(30))
    assert now is not None
    assert (now.users, now.leg, now.errand, now.attended) == (0, None, None, True)
    assert (before, course.cut_short) == (False, True)
    assert walked(course, (59, BUSY), (60, BUSY))[1] == "over"


def test_a_run_that_is_done_in_time_is_not_cut_short() -> None:
    """The longest duration is no duration."""
    course = course_of(stage(10), max_duration_s=10.5)
    assert walked(course, (0, {}), (10, QUIET), (11, QUIET)) == ["0 load 0 2 send", "0 load 0 0 hold", "over"]
    assert not course.cut_short


def test_hundreds_of_stages_and_empty_ones() -> None:
    """Stages without users and of one second are stages; none is left out."""
    stages = [stage(1, users=number % 3, phase=f"p{number}") for number in range(300)]
    course = course_of(*stages)
    seen: list[tuple[str, int]] = []
    for tick in range(3010):
        now = course.at(Facts(tick / 10))
        if now is not None and now.leg is not None and (not seen or seen[-1] != (now.phase, now.users)):
            seen.append((now.phase, now.users))
    assert seen == [(f"p{number}", number % 3) for number in range(300)]


def test_nothing_grows_in_days_of_settles() -> None:
    """After ten thousand settles a course is as large as after one."""

    def size(thing: object, depth: int = 0) -> int:
        inner = getattr(thing, "__dict__", {})
        return sys.getsizeof(thing) + sum(size(value, depth + 1) for value in inner.values() if depth < 4)

    course = course_of(stage(1e9, settle=Settle(every_s=10)))
    now_s, done = 0.0, 0
    sizes = []
    for _ in range(40_000):
        now = course.at(Facts(now_s, idle=True, errands_done=done))
        assert now is not None
        now_s += 10 if now.leg else 1
        done = now.errand.number if now.errand else done
        if now.leg is not None:
            sizes.append(size(course))
    assert done > 9_000
    assert max(sizes[100:]) - sizes[100] < 100


def test_the_end_keeps_within_the_longest_duration() -> None:
    """A run whose stages are over just before waits no longer for what is open than one that was cut short."""
    course = course_of(stage(95), patience_s=300, max_duration_s=100)
    table: list[Row] = [(0, BUSY), (95, BUSY), (100, BUSY), (129, BUSY), (100 + LAST_PATIENCE_S, BUSY)]
    assert walked(course, *table)[-2:] == ["0 load 0 0 hold", "over"]
    assert not course.cut_short

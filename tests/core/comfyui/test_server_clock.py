from __future__ import annotations

import random
from dataclasses import replace

import pytest

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.comfyui.server_clock import MEMORY_NS, ClockSet, Offset, ServerClock
from comfysoak_core.rows import Prompt

START_NS = 1_764_000_000 * NS_PER_S
ROW = Prompt(id="p", server="s", worker="w", client_id="c", workflow="f", scheduled_ns=0)


def s(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def run(
    clock: ServerClock, seconds: float, offset_s: float, ppm: float = 0.0, *, wait_s: float = 0.0, newer: bool = True,
    from_s: float = 0.0, every_s: float = 0.5,
) -> None:  # fmt: skip
    """A prompt every so often on a server whose clock is off; each waits up to `wait_s` for its turn."""
    numbers = random.Random(7)
    at_ns = START_NS + s(from_s)
    while at_ns < START_NS + s(from_s + seconds):
        accepted_ns = at_ns + s(numbers.uniform(0.001, 0.004))
        started_ns = accepted_ns + s(numbers.uniform(0, wait_s))
        ended_ns = started_ns + s(0.2)

        def stamp(moment_ns: int) -> int:
            wrong_ns = moment_ns + s(offset_s) + round((moment_ns - START_NS) * ppm * 1e-6)
            return wrong_ns // NS_PER_MS * NS_PER_MS

        clock.take(
            replace(
                ROW,
                sent_ns=at_ns,
                accepted_ns=accepted_ns + s(0.0005),
                created_server_ns=stamp(accepted_ns) if newer else None,
                started_server_ns=stamp(started_ns),
                start_received_ns=started_ns + s(numbers.uniform(0.0002, 0.003)),
                ended_server_ns=stamp(ended_ns),
                end_received_ns=ended_ns + s(0.01),
            )
        )
        at_ns += s(every_s)


def offset_at(clock: ServerClock, seconds: float) -> Offset:
    found = clock.offset(START_NS + s(seconds))
    assert isinstance(found, Offset)
    return found


@pytest.mark.parametrize("offset_s", [3.0, -0.2, 0.0])
@pytest.mark.parametrize("newer", [True, False])
def test_an_offset_is_found_within_its_own_error(offset_s: float, newer: bool) -> None:  # a parameter
    """The truth lies in the interval, and the interval is some milliseconds wide."""
    clock = ServerClock()
    run(clock, 30, offset_s, newer=newer)
    found = offset_at(clock, 30)
    assert abs(found.offset_ns - s(offset_s)) <= found.error_ns <= s(0.005)
    assert found.prompts == 60


def test_a_busy_server_of_the_old_version_is_told_with_an_error_as_large_as_it_is() -> None:
    """Where every prompt waits and nothing stamps its acceptance, the upper bound is loose, and said to be."""
    old, new = ServerClock(), ServerClock()
    run(old, 60, 3.0, wait_s=4.0, newer=False, every_s=5)
    run(new, 60, 3.0, wait_s=4.0, newer=True, every_s=5)
    loose, tight = offset_at(old, 60), offset_at(new, 60)
    assert abs(loose.offset_ns - s(3)) <= loose.error_ns
    assert abs(tight.offset_ns - s(3)) <= tight.error_ns
    assert loose.error_ns > 5 * tight.error_ns


def test_a_drift_is_followed_and_told() -> None:
    """A clock that gains 100 ppm is right within the error at every minute, and its drift becomes known."""
    clock = ServerClock()
    told = []
    for minute in range(10):
        run(clock, 60, 0.0, ppm=100, from_s=60 * minute)
        found = offset_at(clock, 60 * (minute + 1))
        assert abs(found.offset_ns - s(60 * (minute + 1) * 100e-6)) <= found.error_ns <= s(0.005)
        told.append(found.drift_ppm)
    assert told[0] is None
    assert told[-1] == pytest.approx(100, abs=10)


@pytest.mark.parametrize("step_s", [2.0, -2.0])
def test_a_clock_that_is_set_contradicts_itself_once(step_s: float) -> None:
    """The contradiction is told with its size; what is measured afterwards is right again."""
    clock = ServerClock()
    run(clock, 30, 0.0)
    offset_at(clock, 30)
    run(clock, 10, step_s, from_s=30)
    found = clock.offset(START_NS + s(40))
    assert isinstance(found, ClockSet)
    assert found.apart_s == pytest.approx(abs(step_s), abs=0.05)
    run(clock, 10, step_s, from_s=40)
    after = offset_at(clock, 50)
    assert abs(after.offset_ns - s(step_s)) <= after.error_ns


def test_without_a_bound_on_each_side_nothing_is_said() -> None:
    """A prompt without stamps, and one whose messages were missed, prove too little."""
    clock = ServerClock()
    clock.take(ROW)
    assert clock.offset(START_NS) is None
    clock.take(replace(ROW, sent_ns=START_NS, started_server_ns=START_NS))
    assert clock.offset(START_NS) is None


def test_what_is_long_ago_is_forgotten() -> None:
    """Memory is bounded, and so is what an old measurement is worth."""
    clock = ServerClock()
    run(clock, 20, 0.0)
    assert clock.offset(START_NS + MEMORY_NS + s(60)) is None
    run(clock, 2000, 0.0, every_s=5)
    assert offset_at(clock, 2000).error_ns < s(0.005)
    assert len(clock._stretches) <= 61  # that it does not grow is the point


@pytest.mark.parametrize("ppm", [200, -200, 30])
def test_the_stated_error_holds_when_answers_come_late(ppm: float) -> None:
    """A bound is as old as the moment of ours that it rests on, however long the other one was in coming."""
    numbers, clock, at_ns = random.Random(5), ServerClock(), START_NS

    def truth_ns(moment_ns: int) -> float:
        return s(3) + (moment_ns - START_NS) * ppm * 1e-6

    def stamp(moment_ns: int) -> int:
        return int(moment_ns + truth_ns(moment_ns)) // NS_PER_MS * NS_PER_MS

    for _ in range(200):
        created_ns = at_ns + s(numbers.uniform(0, 0.002))
        accepted_ns = created_ns + s(numbers.choice([0.001, 20, 60]))
        clock.stamped(stamp(created_ns), at_ns, accepted_ns)
        at_ns = accepted_ns + s(numbers.uniform(0, 30))
        found = clock.offset(at_ns)
        assert isinstance(found, Offset)
        assert abs(found.offset_ns - truth_ns(at_ns)) <= found.error_ns + 1

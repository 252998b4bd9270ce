"""What processes are told when a course takes a turn, and what the journal says of it."""

from __future__ import annotations

import pytest

from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.parts import Leg, Now
from comfysoak_core.scenario.stage import COLD_START, SETTLE, ColdStart, Settle, Stage
from comfysoak_load.course.turn import Turn

STAGES = (
    Stage(duration_s=30, users=Line(start=1, end=4), settle=Settle(every_s=10)),
    Stage(duration_s=60, cold_start=ColdStart(), phase=COLD_START),
)


def turn_of(now: Now) -> Turn:
    return Turn.of(now, 7, course_ns=1_000_000_000, now_ns=50_000_000_000)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Now(0, "load", 0.0, 1, Leg(0.0, 0.0, 10.0)), "stage 1 of 2: 1 to 4 users for 30 s"),
        (Now(0, SETTLE, 10.0, 2), "stage 1 of 2 settles after 10 s"),
        (Now(0, "load", 10.0, 2, Leg(5.0, 10.0, 20.0)), "stage 1 of 2 goes on after 10 s"),
        (Now(1, COLD_START, 0.0, 0, attended=False), "stage 2 of 2: a cold start for at most 60 s"),
        (Now(1, COLD_START, 0.0, 0, draining=True), "nothing more is sent, after stage 2 of 2"),
    ],
)
def test_turns_in_words(now: Now, words: str) -> None:
    """What people read in the live view and in the events."""
    assert turn_of(now).in_words(STAGES) == words


def test_what_is_due_follows_the_load_clock() -> None:
    """A leg that goes on has its zero moved by the pause; it begins where the one before ended."""
    turn = turn_of(Now(0, "load", 10.0, 2, Leg(zero_s=5.0, from_s=10.0, until_s=20.0)))
    assert (turn.zero_ns, turn.began_ns, turn.from_s, turn.until_s) == (6_000_000_000, 16_000_000_000, 10.0, 20.0)
    assert turn.sends
    pause = turn_of(Now(0, SETTLE, 10.0, 2))
    assert (pause.sends, pause.began_ns) == (False, 50_000_000_000)


def test_a_turn_survives_its_message() -> None:
    """Workers take the turn the master took."""
    turn = turn_of(Now(0, "load", 0.0, 1, Leg(0.0, 0.0, 10.0)))
    assert Turn.from_message(turn.to_message()) == turn

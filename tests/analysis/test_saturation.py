"""Steps of load, the law through them, and its knee."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.saturation import load_steps, saturation
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.stage import Arrivals, Stage
from tests.analysis.served import Stretch, served

USERS = (1, 2, 4, 8, 12, 16, 24, 32, 48)
KNEE = 19.5


def per_s(users: float) -> float:
    """Throughput of a server whose knee lies at 19.5 users."""
    return 2 * users / (1 + 0.05 * (users - 1) + 0.0025 * users * (users - 1))


def step(users: int, lasts_s: float = 40, phase: str | None = None) -> Stretch:
    """One step of a closed load."""
    return Stretch(lasts_s, users, per_s(users), users / per_s(users), phase=phase or f"{users} users")


def test_the_knee_is_found_from_stages_of_constant_load(directory: Path) -> None:
    """With an interval that holds the truth, and the point at which latency begins to climb."""
    found = saturation(open_run(served(directory, [step(users) for users in USERS])))
    assert found is not None
    assert found.law.knee == pytest.approx(KNEE, rel=0.15)
    assert found.knee is not None
    assert found.knee.low < KNEE < found.knee.high
    assert [one.load for one in found.steps] == list(USERS)
    assert (found.calm_load, found.climbs_at) in {(4, 8), (8, 12)}  # at 8 it is 1.5 times that of one user
    assert found.sentences[0].startswith("The knee lies at ")


def test_the_knee_is_found_from_a_ramp(directory: Path) -> None:
    """One stage from 1 to 48 users is cut into steps."""
    ramp = [step(users, 8, "rising") for users in range(1, 49)]
    planned = [Stage(duration_s=8 * 48, users=Line(start=1, end=48), phase="rising")]
    found = saturation(open_run(served(directory, ramp, stages=planned)))
    assert found is not None
    assert found.law.knee == pytest.approx(KNEE, rel=0.2)


def test_steps_that_do_not_reach_it_have_no_knee(directory: Path) -> None:
    """It says so, and that throughput still grows."""
    found = saturation(open_run(served(directory, [step(users) for users in USERS[:5]])))
    assert found is not None
    assert found.knee is None
    assert found.law.knee is None
    assert "was not observed up to 12 users" in found.sentences[0]
    assert "still grew there" in found.sentences[0]


def test_a_server_that_is_full_levels_off_and_has_no_knee(directory: Path) -> None:
    """One prompt at a time: from some load on, more users only wait longer."""
    steps = [Stretch(60, users, min(4 * users, 12), max(users / 12, 0.25), phase=f"{users}") for users in USERS[:6]]
    found = saturation(open_run(served(directory, steps)))
    assert found is not None
    assert found.knee is None
    assert "levelled off" in found.sentences[0]


def test_arrivals_are_held_against_the_prompts_at_the_target(directory: Path) -> None:
    """Of an open load the steps are phases, and their load is the length of the queue they made."""
    rates = (2.0, 4.0, 8.0, 11.0)
    steps = [Stretch(40, 0, rate, 0.2 / (1 - rate / 12), phase=f"{rate:g}/s") for rate in rates]
    planned = [
        Stage(duration_s=40, arrivals=Arrivals(rate_per_s=Line.level(rate)), phase=f"{rate:g}/s") for rate in rates
    ]
    found = load_steps(open_run(served(directory, steps, stages=planned)))
    assert [one.offered_per_s for one in found] == pytest.approx(rates, rel=0.2)
    assert [one.load for one in found] == pytest.approx([rate * 0.2 / (1 - rate / 12) for rate in rates], rel=0.3)


def test_constant_load_has_no_saturation(calm: Run, empty: Run, directory: Path) -> None:
    """Nor has an empty run, nor one of two steps."""
    assert saturation(calm) is None
    assert saturation(empty) is None
    assert saturation(open_run(served(directory, [step(1), step(8)]))) is None

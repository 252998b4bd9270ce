"""A search for capacity: how one level is judged, and what the levels say together."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_analysis import Run
from comfysoak_analysis.frames import open_run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.measuring import Evidence, measure
from comfysoak_analysis.trial import judge_trial, main
from comfysoak_analysis.verdict import Standing
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Prompt, Trial
from comfysoak_core.scenario.stage import ARRIVALS, TRIAL, USERS
from tests.analysis.planted import START_NS
from tests.analysis.test_frames import only, prompt

GOAL = "prompts.latency.p90 < 10s"


def prompts(level: int, count: int, latency_s: float, first: int = 0, **changes: object) -> list[Prompt]:
    """`count` prompts of the trial of so many users."""
    told: dict[str, object] = {"phase": f"{TRIAL}{level} users", "outcome": "success"} | changes
    ended = START_NS + round((1 + latency_s) * NS_PER_S)
    return [prompt(first + number, end_received_ns=ended, finished_ns=ended, **told) for number in range(1, count + 1)]


def trial(number: int, level: float, *, unit: str = USERS, again: bool = False, **changes: object) -> Trial:
    told = f"{level:g} users" + (", again" if again else "")
    values: dict[str, object] = {
        "id": f"0/{number}", "unit": unit, "level": level, "again": again, "phase": f"{TRIAL}{told}",
        "began_ns": START_NS + number * NS_PER_S, "held": True, "sure": True, "judged_ns": START_NS + number * NS_PER_S,
    } | changes  # fmt: skip
    return Trial(**values)  # type: ignore[arg-type]  # a test says what it needs


def test_a_level_holds_by_its_own_prompts_alone(directory: Path) -> None:
    """Sixty fast prompts at four users hold, whatever happened at eight."""
    run = only(directory, *prompts(4, 60, 2.0), *prompts(8, 60, 20.0, first=100))
    judgement = judge_trial(run, f"{TRIAL}4 users", [GOAL])
    assert (judgement.held, judgement.sure) == (True, True)
    assert "prompts.latency.p90 < 10s: 2 s" in judgement.why


def test_a_level_breaks(directory: Path) -> None:
    """Sixty slow prompts miss the goal, and the reason says by how much."""
    run = only(directory, *prompts(4, 60, 2.0), *prompts(8, 60, 20.0, first=100))
    judgement = judge_trial(run, f"{TRIAL}8 users", [GOAL])
    assert (judgement.held, judgement.sure) == (False, True)
    assert "20 s" in judgement.why


def test_too_few_prompts_are_gone_by_as_seen(directory: Path) -> None:
    """Five fast prompts are no proof: it held as far as was seen."""
    judgement = judge_trial(only(directory, *prompts(4, 5, 2.0)), f"{TRIAL}4 users", [GOAL])
    assert (judgement.held, judgement.sure) == (True, False)
    assert "too few prompts" in judgement.why


@pytest.mark.parametrize(("outcome", "words"), [("not_sent", "could not be sent"), ("aborted", "had not ended")])
def test_what_was_not_done_speaks_against_a_level(directory: Path, outcome: str, words: str) -> None:
    """Prompts the server had no room for are what a level beyond capacity looks like, however fast the others were."""
    rows = [*prompts(4, 95, 2.0), *prompts(4, 5, 2.0, first=200, outcome=outcome)]
    judgement = judge_trial(only(directory, *rows), f"{TRIAL}4 users", [GOAL])
    assert (judgement.held, judgement.sure) == (False, True)
    assert f"5 of 100 prompts {words}" in judgement.why


def test_a_level_without_prompts_did_not_hold(directory: Path) -> None:
    """Nothing measured is no success."""
    judgement = judge_trial(only(directory), f"{TRIAL}4 users", [GOAL])
    assert (judgement.held, judgement.sure) == (False, False)


def test_the_judge_as_a_process(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line of JSON; a goal it cannot read is undecided, a run it cannot read an error."""
    only(directory, *prompts(4, 60, 2.0))
    assert main([str(directory), "--phase", f"{TRIAL}4 users", "--goal", GOAL]) == 0
    assert capsys.readouterr().out.startswith('{"held": true, "sure": true,')
    assert main([str(directory / "none"), "--phase", "x", "--goal", GOAL]) != 0


def searched(directory: Path) -> Run:
    """Four and six users held, eight broke, six held again."""
    trials = [trial(1, 4), trial(2, 8, held=False), trial(3, 6), trial(4, 6, again=True)]
    slow = prompts(8, 60, 20.0, first=100)
    return only(directory, *trials, *prompts(4, 60, 1.0), *slow, *prompts(6, 60, 5.0, first=200))


def test_what_the_search_found(directory: Path) -> None:
    """The highest level that held, the lowest that broke, in words and as a measure for goals."""
    run = searched(directory)
    (capacity,) = run.capacities
    assert capacity.sentence == "The goals held up to 6 users and broke at 8 users."
    assert measure("capacity.users", Evidence(run, ())).value == 6
    assert [goal.standing for goal in evaluate(run, (), ["capacity.users >= 6", "capacity.users > 6"])] == [
        Standing.MET,
        Standing.MISSED,
    ]


def test_the_run_stands_by_the_level_that_held(directory: Path) -> None:
    """Levels that broke are what a search is for: they are not in the figures the goals are judged by."""
    run = searched(directory)
    assert set(run.prompts.loc[run.prompts["measured"], "phase"]) == {f"{TRIAL}6 users"}
    (goal,) = evaluate(run, (), [GOAL])
    assert goal.standing is Standing.MET


def test_where_nothing_held_the_lowest_level_counts(directory: Path) -> None:
    """Then the goals are missed, by the prompts of that level."""
    run = only(directory, trial(1, 4, held=False), *prompts(4, 60, 20.0))
    assert run.capacities[0].sentence == "Not even 4 users held."
    assert measure("capacity.users", Evidence(run, ())).value == 0
    assert evaluate(run, (), [GOAL])[0].standing is Standing.MISSED


def test_a_search_that_is_not_clean_or_not_sure_says_so(directory: Path) -> None:
    """A level that broke below one that held, with too few prompts; rates are told by the minute."""
    trials = [
        trial(1, 0.1, unit=ARRIVALS),
        trial(2, 0.2, unit=ARRIVALS, held=False, sure=False),
        trial(3, 0.4, unit=ARRIVALS),
        trial(4, 0.8, unit=ARRIVALS, held=None, sure=None, judged_ns=None),
    ]
    (capacity,) = only(directory, *trials).capacities
    assert capacity.sentence.startswith("The goals held up to 6 prompts a minute and broke at 12 prompts a minute.")
    assert "not clean" in capacity.sentence
    assert "too few prompts" in capacity.sentence
    assert [one.held for one in capacity.trials] == [True, False, True, None]
    assert open_run(directory).capacities == (capacity,)

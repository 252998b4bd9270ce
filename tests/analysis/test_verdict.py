"""Validity before goals, goals before exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.judgement import judge
from comfysoak_analysis.validity import doubts
from comfysoak_analysis.verdict import (
    EXIT_CODES,
    Conclusion,
    Doubt,
    GoalResult,
    Standing,
    Verdict,
    Weight,
    conclude,
)
from comfysoak_analysis.workers import users_over_time
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.rows import Event, Generator, Session
from tests.analysis.planted import SERVER, START_NS, plant
from tests.analysis.test_frames import only, prompt


def verdict_on(directory: Path, **changes: Any) -> Verdict:
    """The verdict on a planted run."""
    run = open_run(plant(directory, **changes))
    return judge(run, GpuStates(run))


def lost(what_follows: str) -> Event:
    """A load process is lost, half a minute into the run."""
    at_ns = START_NS + 30 * NS_PER_S
    return Event(
        at_ns=at_ns,
        source="load-master",
        kind="worker_lost",
        subject="load-1",
        detail=f"load-1 is gone; {what_follows}",
    )


def machine(kind: str) -> Event:
    """Something about a worker machine, at the end of the run."""
    return Event(at_ns=START_NS + 60 * NS_PER_S, source="supervisor", kind=kind, subject="gpu-2")


def goal(standing: Standing) -> GoalResult:
    """A goal that stands so."""
    return GoalResult("g", "m", standing, 1.0, 1.0, "count", "1", "< 1", 1)


DOUBT = Doubt("d", Weight.INVALID, "it was the harness")
CAUTION = Doubt("c", Weight.CAUTION, "with care")


@pytest.mark.parametrize(
    ("standings", "against", "on_undecided", "conclusion", "exit_code"),
    [
        (["met"], (), "fail", Conclusion.PASSED, 0),
        (["met"], (CAUTION,), "fail", Conclusion.PASSED, 0),
        (["met", "missed"], (), "fail", Conclusion.FAILED, 1),
        (["met", "undecided"], (), "fail", Conclusion.UNDECIDED, 3),
        (["met", "undecided"], (), "pass", Conclusion.PASSED, 0),
        (["missed", "undecided"], (), "pass", Conclusion.FAILED, 1),
        (["missed", "undecided"], (), "fail", Conclusion.FAILED, 1),
        (["missed"], (DOUBT,), "fail", Conclusion.NOT_VALID, 3),
        (["met"], (DOUBT,), "pass", Conclusion.NOT_VALID, 3),
        ([], (), "fail", Conclusion.PASSED, 0),
    ],
)
def test_precedence(
    standings: list[str], against: tuple[Doubt, ...], on_undecided: str, conclusion: Conclusion, exit_code: int
) -> None:
    """Not valid, then failed, then undecided, then passed."""
    goals = tuple(goal(Standing(standing)) for standing in standings)
    assert conclude(goals, against, on_undecided) is conclusion
    assert EXIT_CODES[conclusion] == exit_code


@pytest.mark.parametrize(
    ("changes", "name", "weight"),
    [
        ({"lag_max_s": 4.0}, "generator lag", "invalid"),
        ({"generator_cpu_ratio": 0.97}, "generator CPU", "invalid"),
        ({"sampler_gap_s": (20.0, 12.0)}, "sampler gaps", "invalid"),
        ({"sampler_gap_s": (20.0, 3.0)}, "sampler gaps", "caution"),
        ({"sampler_gap_s": (20.0, 12.0), "gpu_source": "dcgm"}, "exporter gaps", "caution"),
        ({"sampler_gap_s": (20.0, 12.0), "gpu_source": "dcgm", "host_gap": True}, "sampler gaps", "invalid"),
        ({"sampler_gap_s": (45.0, 100.0)}, "sampler gaps", "invalid"),  # it never came back
        ({"sampler_gap_s": (45.0, 100.0), "gpu_source": "dcgm"}, "exporter gaps", "caution"),
        ({"sampler_gap_s": (20.0, 12.0), "gpu_host": "gpu-2"}, "remote probe gaps", "caution"),
        ({"sampler_gap_s": (20.0, 12.0), "gpu_host": "gpu-2", "host_gap": True}, "sampler gaps", "invalid"),
        ({"sampler_gap_s": (20.0, 12.0), "pauses": ((20.0, 6.0, "host"),)}, "sampler gaps", "invalid"),
        ({"sampler_gap_s": (20.0, 12.0), "pauses": ((20.0, 8.0, "gpu"),)}, "sampler gaps", "caution"),  # 4 s of it
        ({"clock_step_s": 3.0}, "clock step", "caution"),
        ({"cached_share": 0.9}, "cached prompts", "invalid"),
        ({"cached_share": 0.25}, "cached prompts", "caution"),
        ({"prompts_most": 3}, "few prompts", "caution"),
        ({"prompts_most": 0}, "no prompts", "invalid"),
        ({"gpu": False}, "no GPU", "note"),
        ({"seal": False}, "cut off", "invalid"),
        ({"ended": EndReason.CUT_OFF}, "cut off", "invalid"),
        ({"ended": EndReason.INTERRUPTED}, "interrupted", "invalid"),
        ({"ended": EndReason.ABORTED}, "aborted", "invalid"),
        ({"planned_s": 600.0}, "short", "caution"),
        ({"other_rows": tuple(prompt(n, outcome="not_sent") for n in range(9))}, "not sent", "invalid"),
        ({"other_rows": tuple(prompt(n, outcome="aborted") for n in range(40))}, "aborted prompts", "invalid"),
        ({"other_rows": tuple(prompt(n, outcome="aborted") for n in range(5))}, "aborted prompts", "caution"),
        ({"other_rows": (lost("the 2 others take over its load"),)}, "lost workers", "caution"),
        ({"other_rows": (lost("nobody is left to take over its load"),)}, "lost workers", "invalid"),
        ({"other_rows": (machine("machine_incomplete"),)}, "missing rows", "caution"),
    ],
)
def test_each_reason_to_doubt_is_found(directory: Path, changes: dict[str, Any], name: str, weight: str) -> None:
    """And says what was seen; none but it makes the run invalid."""
    against = doubts(open_run(plant(directory, **changes)))
    assert (name, weight) in {(doubt.name, doubt.weight.value) for doubt in against}
    assert {doubt.name for doubt in against if doubt.weight is Weight.INVALID} <= {name}


def test_one_hiccup_is_no_habit(directory: Path) -> None:
    """A calm run is beyond doubt."""
    assert doubts(open_run(plant(directory, duration_s=90.0))) == ()


def test_what_was_merged_is_not_missing(directory: Path) -> None:
    """A machine whose journal was added by hand is no reason to doubt."""
    rows = (machine("machine_incomplete"), machine("machine_merged"))
    assert "missing rows" not in {doubt.name for doubt in doubts(open_run(plant(directory, other_rows=rows)))}


def test_users_of_several_processes_are_added_up(directory: Path) -> None:
    """Each tells its own at a moment of its own; together they are what the scenario asked for."""
    rows = [
        Generator(
            at_ns=START_NS + second * NS_PER_S + 7_000_000, worker="load-1", pid=2, users=4, sockets=4, in_flight=1
        )
        for second in range(60)
    ]
    run = open_run(plant(directory, users=6, other_rows=tuple(rows)))
    assert users_over_time(run).max() == 10


def test_one_slow_process_is_not_watered_down_by_others(directory: Path) -> None:
    """Nine calm processes do not make the tenth prompt."""
    rows = [
        Generator(at_ns=START_NS + second * NS_PER_S, worker=f"load-{worker}", pid=worker, users=1, sockets=1,
                  in_flight=1, lag_max_ns=800_000_000 if worker == 9 else 0)
        for second in range(60) for worker in range(1, 10)
    ]  # fmt: skip
    against = doubts(open_run(plant(directory, other_rows=tuple(rows))))
    assert ("generator lag", "invalid") in {(doubt.name, doubt.weight.value) for doubt in against}


def test_one_open_prompt_a_user_is_the_way_of_things(directory: Path) -> None:
    """A run without a drain ends with some in flight: no reason to call it invalid."""
    rows = tuple(prompt(number, outcome="aborted") for number in range(2))
    assert all(doubt.weight is not Weight.INVALID for doubt in doubts(open_run(plant(directory, other_rows=rows))))


def test_an_unfinished_run_is_judged_live_without_blame(directory: Path) -> None:
    """That it has not ended is no defect of a run in progress."""
    run = open_run(plant(directory, seal=False))
    verdict = judge(run, GpuStates(run), live=True)
    assert (verdict.ended_how, verdict.valid) == ("running", True)


def test_the_sentence_says_why(directory: Path) -> None:
    """The goal missed and what was measured."""
    verdict = verdict_on(directory, goals=("failures.OOM = 0",), oom_at_s=(30,))
    assert verdict.conclusion is Conclusion.FAILED
    assert verdict.sentence == "The goal was missed: failures.OOM = 0 (measured 1)."
    assert "Found: OOM" in verdict.story


def test_the_json_is_versioned_and_says_it_all(story: Run) -> None:
    """It holds goals, findings and doubts as plain values."""
    verdict = judge(story, GpuStates(story))
    told = json.loads(verdict.to_json())
    assert (told["version"], told["exit_code"], told["conclusion"], told["started_ns"]) == (1, 1, "failed", START_NS)
    assert [finding["code"] for finding in told["findings"]] == [finding.code.value for finding in verdict.findings]
    assert told["goals"][1]["standing"] == "missed"


def test_a_generator_busy_with_status_messages_is_told_to_hold_fewer_sockets(directory: Path) -> None:
    """What sockets heard that was about nobody's prompt of theirs is the watchers' share, and the remedy says so."""
    seconds = [START_NS + number * NS_PER_S for number in range(1, 31)]
    busy = [Generator(at_ns=at, worker="w", pid=1, users=1, sockets=90, in_flight=1, cpu_ratio=0.97) for at in seconds]
    quiet = prompt(1, outcome="success", messages=20, finished_ns=seconds[-1])
    told = {"id": "s/1", "server": SERVER, "worker": "w", "role": "watcher", "client_id": "c", "opening_ns": seconds[0]}
    for messages, expected in ((2_000, True), (60, False)):
        session = Session(**told, closed_ns=seconds[-1], messages=messages)  # type: ignore[arg-type]  # as a dictionary
        run = only(directory / str(messages), quiet, session, *busy)
        (doubt,) = [doubt for doubt in doubts(run) if doubt.name == "generator CPU"]
        assert ("fewer watchers" in doubt.remedy) is expected

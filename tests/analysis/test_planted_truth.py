"""A fixed sample of the planted truth (`benchmarks/planted`): what is planted is found, and clean runs stay quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planted import history
from benchmarks.planted.cases import Case, planted
from benchmarks.planted.course import NEVER, play
from benchmarks.planted.graphs import kept_bytes
from benchmarks.planted.host_tables import rss
from benchmarks.planted.judging import try_case
from benchmarks.planted.plantings.catalogue import NOT_PLANTED, PLANTINGS
from benchmarks.planted.recording import tables
from benchmarks.planted.seeds import FINAL, seed_of
from benchmarks.planted.world import MIB, Outage
from comfysoak_core.codes import Code

SALT = "tests"  # neither the seeds of the table in the manual, nor those of rehearsals
CODES = (
    Code.WS_IDLE_CUT, Code.LOOP_BLOCKED, Code.NODE_HANG, Code.VRAM_LEAK, Code.RAM_LEAK, Code.HISTORY_BLOAT,
    Code.MODEL_THRASH, Code.THROTTLED,
)  # fmt: skip
KINDS = (0, 1, 4, 6, 8)  # sawtooth memory, mix shift, noisy neighbour, a cache that fills, fleet


@pytest.mark.parametrize("code", CODES)
def test_what_was_planted_is_found(code: Code, tmp_path: Path) -> None:
    """A code is found in a recording that it was planted in, and nothing that does not follow from it."""
    judged = try_case(Case("code", code.value, 0, SALT), tmp_path, keep=False)
    assert judged.error == ""
    assert judged.found == (code.value,)
    assert judged.false == ()


@pytest.mark.parametrize("number", KINDS)
def test_clean_runs_raise_no_alarm(number: int, tmp_path: Path) -> None:
    """A run in which nothing was planted has no finding of weight and no doubt about the target, whatever its kind."""
    judged = try_case(Case("clean", "clean", number, SALT), tmp_path, keep=False)
    assert judged.error == ""
    assert (judged.kind, judged.false, judged.doubts) == (judged.kind, (), ())


def test_two_faults_in_one_run_are_both_found(tmp_path: Path) -> None:
    """Of two codes planted into one run none hides the other."""
    judged = try_case(Case("pair", "pairs", 0, SALT), tmp_path, keep=False)
    assert judged.error == ""
    assert judged.missed == ()


def test_every_code_is_planted_or_has_a_reason_why_not() -> None:
    """Each code of the catalogue is planted, or it is written down why it cannot be."""
    assert set(PLANTINGS) | set(NOT_PLANTED) == set(Code)
    assert not set(PLANTINGS) & set(NOT_PLANTED)


def test_the_queue_that_was_polled_is_the_queue_that_was_simulated() -> None:
    """In a planted world Little's law holds between the polled queue and the lives of prompts, to a few percent."""
    world = planted(Case("clean", "clean", 0, SALT)).world
    course = play(world)
    polled = tables(world, course)["server"]
    waiting = polled["queue_running"].to_numpy() + polled["queue_pending"].to_numpy()
    lives = [life for life in course.lives if life.accepted < NEVER]
    inside_s = sum(min(life.gone, course.end) - life.accepted for life in lives)
    assert waiting.mean() == pytest.approx(inside_s / course.end, rel=0.05)


def test_the_memory_of_a_planted_server_grows_with_its_history_until_that_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By what its prompts take, and no more beyond the cap; all of it is gone with the process."""
    world = planted(Case("code", "HISTORY_BLOAT", 0, SALT)).world
    course = play(world)
    at = np.array([0.0, 0.5, 1.0]) * course.end
    each = kept_bytes(world, world.workflows[0])
    assert history.taken(world, course, 0, at) == pytest.approx(history.length(world, course, 0, at) * each, rel=0.02)
    rose = np.diff(rss(world, course, 0, at[1:]))
    assert rose == pytest.approx(np.diff(history.taken(world, course, 0, at[1:])), abs=30 * MIB)
    monkeypatch.setattr(history, "MOST", 300)
    assert list(history.length(world, course, 0, at)) == [0.0, 300.0, 300.0]
    world.script.outages.append(Outage(0, at[1] - 20, at[1] - 10))
    assert history.length(world, course, 0, at[1:2]) < 20


def test_a_seed_gives_the_same_recording_every_time() -> None:
    """The final seeds are a hash of salt, name and number, and a seed is all a course depends on."""
    assert seed_of(FINAL, "code/OOM", 0) == 2359073084787351860
    first, second = (play(planted(Case("code", "OOM", 3, SALT)).world) for _ in range(2))
    assert [(life.begun, life.ended, life.code) for life in first.lives] == [
        (life.begun, life.ended, life.code) for life in second.lives
    ]

"""What watching cost: told where pauses show it, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.health import health
from comfysoak_analysis.validity import doubts
from comfysoak_analysis.watching import Watching, paused, watching
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event
from tests.analysis.planted import START_NS, plant


def pauses(count: int) -> tuple[tuple[float, float, str], ...]:
    """So many of 20 s each, 60 s apart, the first after 40 s."""
    return tuple((40.0 + 60.0 * number, 20.0, "gpu") for number in range(count))


def planted(directory: Path, count: int, cost: float, **changes: Any) -> Run:
    return open_run(
        plant(
            directory,
            duration_s=40.0 + 60.0 * count,
            users=3,
            workflows=("sketch-sd15",),
            pauses=pauses(count),
            watching_cost=cost,
            log=False,
            **changes,
        )
    )


@pytest.fixture(scope="module")
def costly(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twelve pauses of a server that is 10 % slower while its GPU is watched."""
    return planted(tmp_path_factory.mktemp("costly"), 12, 0.10)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Twelve pauses of a server that does not care."""
    return planted(tmp_path_factory.mktemp("free"), 12, 0.0)


def only(run: Run) -> Watching:
    (found,) = watching(run)
    return found


def test_a_known_cost_is_found(costly: Run) -> None:
    """Ten percent, within the interval, in service time and in throughput, and a doubt about the run."""
    found = only(costly)
    assert found.service is not None
    assert found.throughput is not None
    assert found.service.low < 0.10 < found.service.high
    assert found.throughput.low < 1 / 1.10 - 1 < found.throughput.high
    assert (found.pauses, found.used, found.is_costly) == (12, 12, True)
    (doubt,) = [doubt for doubt in doubts(costly) if doubt.name == "watching"]
    assert doubt.weight == "caution"
    assert "made prompts" in doubt.what
    assert "% slower (+" in doubt.what


def test_no_cost_is_told_as_none(free: Run) -> None:
    """The interval holds zero, the report says so in a sentence, and nothing speaks against the run."""
    found = only(free)
    assert found.service is not None
    assert found.throughput is not None
    assert found.service.low < 0 < found.service.high
    assert found.service.high - found.service.low < 0.10
    assert found.throughput.low < 0 < found.throughput.high
    assert [doubt.name for doubt in doubts(free) if doubt.name in {"watching", "sampler gaps"}] == []
    said = dict(health(free))["What watching cost, by pauses of gpu probes"]
    assert said == found.in_words()
    assert said.endswith("by 12 pauses")


def test_the_same_recording_says_the_same_again(free: Run) -> None:
    """The bootstrap is seeded."""
    assert watching(free) == watching(free)


def test_drift_is_not_taken_for_cost(tmp_path: Path) -> None:
    """A server that is twice as slow at the end: what comes before a pause and what after it cancel it."""
    found = only(planted(tmp_path, 8, 0.0, slower_at_end=1.0))
    assert found.service is not None
    assert found.throughput is not None
    assert found.service.low < 0 < found.service.high
    assert abs(found.service.value) < 0.03  # a pause and what comes before it alone differ by 5 %
    assert abs(found.throughput.value) < 0.03


@pytest.mark.parametrize(
    ("count", "words"),
    [(2, "cannot tell: 2 pauses, at least 5 are needed"), (1, "cannot tell: 1 pause, at least 5 are needed")],
)
def test_too_few_pauses_say_so(tmp_path: Path, count: int, words: str) -> None:
    """However large the effect, fewer than five pauses are no evidence."""
    found = only(planted(tmp_path, count, 0.5))
    assert found.in_words() == words
    assert not found.is_costly


def test_pauses_without_prompts_do_not_count(tmp_path: Path) -> None:
    """Six pauses of a run that sent nothing: none can be used, and that is said."""
    run = open_run(plant(tmp_path, duration_s=400.0, prompts_most=0, pauses=pauses(6)))
    words = "cannot tell: 6 pauses, 0 with whole prompts in, before and after them, at least 5 are needed"
    assert only(run).in_words() == words


def test_a_pause_at_the_edge_of_a_phase_does_not_count(tmp_path: Path) -> None:
    """The stretch before the first pause would reach into the warm-up: it is left out."""
    run = open_run(plant(tmp_path, duration_s=400.0, warmup_s=25.0, users=3, pauses=pauses(6), log=False))
    assert (only(run).pauses, only(run).used) == (6, 5)


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    """Each kind that was paused has a sentence of its own; a run without pauses has none."""
    some = ((10.0, 5.0, "gpu"), (30.0, 5.0, "host"))
    assert [found.kind for found in watching(open_run(plant(tmp_path / "some", pauses=some)))] == ["gpu", "host"]
    assert watching(open_run(plant(tmp_path / "none"))) == ()


def test_a_pause_that_was_not_ended_lasts_to_the_end(tmp_path: Path) -> None:
    """The sampler was stopped in a pause."""
    run = open_run(plant(tmp_path, pauses=((50.0, 60.0, "gpu"),)))
    (stretch,) = paused(run)
    assert stretch.end == run.end


@pytest.mark.parametrize("changes", [{"pauses": ((20.0, 12.0, "gpu"),)}, {"gpu_lost_rows": True}])
def test_what_was_not_to_be_read_is_no_gap(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A pause of the GPU's probes, and a GPU that the driver called lost, are no gaps of the sampler."""
    run = open_run(plant(tmp_path, sampler_gap_s=(20.0, 12.0), **changes))
    assert [doubt.name for doubt in doubts(run) if doubt.name.endswith("gaps")] == []


def test_a_pause_that_a_killed_sampler_left_open_ends_with_the_next_reading(tmp_path: Path) -> None:
    """It must not excuse the gaps of the rest of the run."""
    began = event_at(20.0, "probe_paused")
    run = open_run(plant(tmp_path, duration_s=60.0, sampler_gap_s=(20.0, 6.0), other_rows=(began,)))
    (pause,) = paused(run)
    assert 5.9 < (pause.end - pause.start).total_seconds() < 6.3


def event_at(at_s: float, kind: str) -> Event:
    return Event(at_ns=START_NS + round(at_s * NS_PER_S), source="sampler", kind=kind, subject="gpu")

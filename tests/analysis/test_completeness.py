"""Little's law: whether this run's prompts explain the queue that was read from the server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.completeness import completeness_doubts, explained
from comfysoak_analysis.verdict import Weight
from tests.analysis.planted import plant
from tests.analysis.served import SERVER, Stretch, served

LOAD = Stretch(400, 4, 3, 1.3)


def test_a_queue_of_ours_alone_is_explained(directory: Path) -> None:
    """Within a percent or two, and no doubt."""
    run = open_run(served(directory, [LOAD]))
    (found,) = explained(run)
    assert found.ratio == pytest.approx(1, abs=0.03)
    assert found.low < 1 < found.high
    assert list(completeness_doubts(run)) == []


@pytest.mark.parametrize("down_from_s", [None, 100.0])
def test_the_queue_of_a_server_that_restarts_is_explained_too(directory: Path, down_from_s: float | None) -> None:
    """While it is away there is neither a queue nor a prompt in it."""
    run = open_run(plant(directory, duration_s=300, down_from_s=down_from_s, node_error_at_s=(60,)))
    (found,) = explained(run)
    assert found.is_complete
    assert found.ratio == pytest.approx(1, abs=0.03)


def test_what_a_busy_server_takes_for_its_messages_is_no_prompt_of_others(directory: Path) -> None:
    """Of prompts of half a second 50 ms are a tenth, so as much of the queue may be missing; of long ones it is not."""
    short, long = Stretch(1200, 4, 6, 0.5, of_queue=1.08), replace(LOAD, lasts_s=1200, latency_s=3.0, of_queue=1.08)
    assert list(completeness_doubts(open_run(served(directory, [short])))) == []
    assert len(list(completeness_doubts(open_run(served(directory.with_name("long"), [long]))))) == 1


def test_prompts_of_others_in_the_queue_are_a_doubt(directory: Path) -> None:
    """A queue a third longer than ours: 77 % is explained, and the words name both reasons."""
    run = open_run(served(directory, [replace(LOAD, of_queue=1.3)]))
    (doubt,) = completeness_doubts(run)
    assert doubt.weight is Weight.CAUTION
    assert SERVER in doubt.what
    assert "somebody else's, or is missing in the recording" in doubt.what
    assert explained(run)[0].ratio == pytest.approx(1 / 1.3, abs=0.04)


def test_prompts_that_waited_elsewhere_are_a_doubt(directory: Path) -> None:
    """A queue shorter than ours: they stayed in front of the server."""
    (doubt,) = completeness_doubts(open_run(served(directory, [replace(LOAD, of_queue=0.7)])))
    assert "somewhere that is not the server's queue" in doubt.what


def test_servers_alike_share_one_doubt(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight servers with one fault are one sentence, that names how many and the furthest off."""
    (one,) = explained(open_run(served(directory, [replace(LOAD, of_queue=0.7)])))
    several = tuple(replace(one, server=f"http://gpu-{n}:8188", ratio=1.3 + n / 100) for n in range(8))
    monkeypatch.setattr("comfysoak_analysis.completeness.explained", lambda _: several)
    (doubt,) = completeness_doubts(open_run(directory))
    assert "At 8 of 8 servers" in doubt.what
    assert "http://gpu-7:8188" in doubt.what


def test_little_is_said_of_little(directory: Path, empty: Run, story: Run) -> None:
    """Fewer than 100 prompts, and none at all, say nothing."""
    assert explained(open_run(served(directory, [replace(LOAD, lasts_s=20, of_queue=2)]))) == ()
    assert explained(empty) == ()
    assert explained(story) == ()

"""MODEL_THRASH is about models that push each other out, not about a server that was told to let all go."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_analysis import open_run
from comfysoak_analysis.findings.memory import thrash
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.rows import Event, Row, ServerLog
from tests.analysis.planted import SERVER, START_NS, plant


def emptied(at_s: float) -> Row:
    at_ns = START_NS + round(at_s * NS_PER_S)
    return ServerLog(at_ns=at_ns, server=SERVER, source="socket", kind="cache_emptied", text="Using LRU cache")


def settled(at_s: float) -> Row:
    at_ns = START_NS + round(at_s * NS_PER_S)
    return Event(at_ns=at_ns, source="load-0", kind="settled", server=SERVER, subject="begin")


def test_models_that_push_each_other_out_are_thrash(directory: Path) -> None:
    """The planted server has no room for two."""
    run = open_run(plant(directory))
    assert [one.code.value for one in thrash.find(run, GpuStates(run))] == ["MODEL_THRASH"]


@pytest.mark.parametrize("row", [emptied, settled])
def test_models_loaded_again_after_all_was_let_go_are_no_thrash(directory: Path, row: type[Row]) -> None:
    """Somebody let everything go between the prompts: each load is the first one since then."""
    run = open_run(plant(directory, other_rows=tuple(row(at_s / 4) for at_s in range(60 * 4))))  # type: ignore[call-arg]
    states = GpuStates(run)
    assert len(states.loads) > 8
    assert list(thrash.find(run, states)) == []

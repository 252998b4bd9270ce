"""A run in which nearly all prompts fail: some of them are kept to be looked at, and all of them are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.planted.soak import write_soak
from benchmarks.planted.writing import write
from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.frames import Run, lean, open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measures import failures
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.recording.recording import Recording
from tests.analysis.planted import SERVER, START_NS

FILES, EACH, OOM_EVERY, MOST = 4, 3_000, 100, 250
FAILED = FILES * EACH - FILES * EACH // OOM_EVERY


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """12,000 prompts of two workflows in four files, a second apart: one in a hundred is an OOM, the others fail."""
    monkeypatch.setattr(lean, "MOST_ALIKE", MOST)
    facts = Recording.open(write_soak(tmp_path / "pattern", scale=0.0001)).run
    batches = []
    for number in range(FILES):
        index = np.arange(EACH) + number * EACH
        begun = START_NS + index * NS_PER_S
        is_oom = index % OOM_EVERY == 0
        batches.append({
            "id": np.array([f"00000000-0000-4000-8000-{one:012d}" for one in index], dtype=object),
            "server": np.full(EACH, SERVER, dtype=object),
            "workflow": np.where(index % 3 == 0, "sketch", "portrait").astype(object),
            "phase": np.full(EACH, "load", dtype=object),
            "scheduled_ns": begun, "sent_ns": begun, "start_received_ns": begun + 1000,
            "end_received_ns": begun + NS_PER_S // 2, "finished_ns": begun + NS_PER_S // 2,
            "outcome": np.where(is_oom, "oom", "failed").astype(object),
            "code": np.where(is_oom, "OOM", "NODE_ERROR").astype(object),
            "error_message": np.full(EACH, "boom", dtype=object),
        })  # fmt: skip
    return open_run(write(tmp_path / "run", facts, {"prompts": batches}))


def test_of_failures_alike_some_are_kept_and_evenly(failing: Run) -> None:
    """Each code and outcome has at most so many rows, none is lost that is rare, and they lie evenly over the run."""
    kept = failing.notable.groupby("code")
    assert len(kept.get_group("OOM")) == FILES * EACH // OOM_EVERY
    others = kept.get_group("NODE_ERROR")
    assert MOST / 2 < len(others) <= MOST
    apart = others["scheduled"].diff().dt.total_seconds().dropna()
    assert apart.min() >= 64
    assert apart.max() <= 66  # every 64th of them, and one or two seconds where one in a hundred is of another kind
    assert others["error_message"].eq("boom").all()


def test_counts_are_those_of_all_failures(failing: Run) -> None:
    """The finding, its words and the table of failures count every prompt, kept or not."""
    found = {one.code: one for one in find_all(failing, GpuStates(failing))}
    assert found[Code.NODE_ERROR].count == FAILED
    assert f"{FAILED:,} prompts of portrait (7,920), sketch (3,960)" in found[Code.NODE_ERROR].evidence
    assert "of them looked at" in found[Code.NODE_ERROR].evidence
    assert f"7,920 of 8,000 of portrait on {SERVER}" in found[Code.NODE_ERROR].evidence
    assert found[Code.OOM].count == FILES * EACH // OOM_EVERY
    assert "looked at" not in found[Code.OOM].evidence
    assert {row.code: row.count for row in failures(failing)} == {"NODE_ERROR": FAILED, "OOM": 120}

"""Recordings that several tests read; none of them writes into these."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.gpu_state import GpuStates
from tests.analysis.planted import plant


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with an out-of-memory failure at 30 s, a burst of drops at 42 s and a node that raises at 50 s."""
    directory = tmp_path_factory.mktemp("story")
    return open_run(plant(directory, name="story", oom_at_s=(30,), drops_at_s=(42,), node_error_at_s=(50,)))


@pytest.fixture(scope="session")
def story_states(story: Run) -> GpuStates:
    """The GPUs of `story`."""
    return GpuStates(story)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Five minutes of one workflow in which nothing goes wrong."""
    directory = tmp_path_factory.mktemp("calm")
    return open_run(plant(directory, name="calm", duration_s=300, users=4, workflows=("sketch-sd15",)))


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which nothing was sent and no GPU watched."""
    directory = tmp_path_factory.mktemp("empty")
    return open_run(plant(directory, name="empty", prompts_most=0, users=0, watchers=0, gpu=False, log=False))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A place for one recording."""
    return tmp_path / "run"

"""Model loads by each source, against the loads that were planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.model_loads import Held, Source, loaded_models, model_loads
from comfysoak_analysis.model_loads.by_memory import rises
from comfysoak_core.rows import ServerLog
from tests.analysis.planted import GIB, SERVER, START_NS, plant
from tests.analysis.test_frames import prompt

S = 1_000_000_000


@pytest.fixture(scope="module")
def by_log(story: Run) -> int:
    """How many loads the log of the same planting tells."""
    return len(model_loads(story))


def test_the_log_names_model_bytes_and_time(story: Run) -> None:
    """6.6 GiB at 8 GiB/s."""
    first = model_loads(story)[0]
    assert (first.model, first.source, first.partial) == ("SDXL", Source.LOG, False)
    assert first.size_bytes == pytest.approx(6.6 * GIB, rel=0.01)
    assert first.moved_s == pytest.approx(0.825, abs=0.01)


def test_memory_tells_the_same_loads_where_there_is_no_log(directory: Path, by_log: int) -> None:
    """At 10 Hz each rise of 2 GiB is seen, and the working memory of a node is not taken for one."""
    run = open_run(plant(directory, log=False, oom_at_s=(30,), drops_at_s=(42,), node_error_at_s=(50,)))
    found = model_loads(run)
    assert {load.source for load in found} == {Source.MEMORY}
    assert abs(len(found) - by_log) <= 2
    assert {load.label for load in found} == {"sdxl.safetensors", "basemodel.safetensors"}
    assert {load.place.node_class for load in found if load.place is not None} == {"KSampler"}


def test_memory_of_a_fleet_tells_nothing(directory: Path) -> None:
    """A rise on another server's GPU during our node is no load of ours."""
    elsewhere = prompt(900_001, server="http://gpu-2:8188", outcome="success")
    run = open_run(plant(directory, log=False, other_rows=(elsewhere,)))
    assert Source.MEMORY not in {load.source for load in model_loads(run)}


def test_slow_first_steps_tell_loads_where_nothing_else_does(directory: Path) -> None:
    """Only those far above the usual wait: here the large model's."""
    run = open_run(plant(directory, log=False, gpu=False))
    found = model_loads(run)
    assert {load.source for load in found} == {Source.PROGRESS}
    assert all(load.moved_s == pytest.approx(0.825 - 0.2625, abs=0.35) for load in found)
    assert len(found) == pytest.approx(16, abs=3)


def test_a_request_without_an_end_is_a_load_all_the_same(directory: Path) -> None:
    """The end was not there to be read, and no zero is made of that."""
    line = ServerLog(at_ns=START_NS + S, server=SERVER, source="socket", kind="model_requested", model="Flux", text="x")
    run = open_run(plant(directory, prompts_most=0, gpu=False, log=False, other_rows=(line,)))
    (load,) = model_loads(run)
    assert (load.model, load.ended, load.moved_s, load.size_bytes) == ("Flux", None, None, None)


def test_a_pause_of_a_few_samples_does_not_split_a_rise() -> None:
    """Weights come in blocks."""
    at = (np.arange(10) * 100_000_000).astype("datetime64[ns]")
    used = np.array([1, 1, 2, 2, 2, 3, 3, 3, 3, 3], dtype=float) * GIB
    assert list(rises(at, used)) == [(1, 5)]


def test_two_rises_with_time_between_are_two() -> None:
    """And one that is too small is none."""
    at = (np.arange(20) * 200_000_000).astype("datetime64[ns]")
    used = np.array([1.0] * 5 + [2.0] * 7 + [3.0] * 6 + [3.1] * 2) * GIB
    assert list(rises(at, used)) == [(4, 5), (11, 12)]


def test_what_was_held_before_it_was_unloaded(story: Run, story_states: GpuStates) -> None:
    """Running out of memory unloads everything; the question is what was there until then."""
    failed = story.prompts.loc[story.prompts["outcome"] == "oom"].iloc[0]
    state = story_states.at(failed["done_at"], SERVER)
    assert state.loaded_models == ("SDXL",)
    held = loaded_models(story, story_states.loads, SERVER)
    assert held.at((failed["done_at"]).to_datetime64(), np.timedelta64(0, "ns")) == Held()

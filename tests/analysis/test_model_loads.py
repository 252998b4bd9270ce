"""Model loads by each source, against the loads that were planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comfysoak_analysis import Run, open_run
from comfysoak_analysis.findings.memory import thrash
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.model_loads import Held, ModelLoad, Origin, Source, loaded_models, model_loads
from comfysoak_analysis.model_loads.by_memory import rises
from comfysoak_analysis.model_loads.log_reading import told_by
from comfysoak_analysis.model_loads.table import figures_by_model
from comfysoak_core.rows import Event, Row, ServerLog
from comfysoak_probes.log.lines import parse_line
from tests.analysis.planted import GIB, SERVER, START_NS, plant
from tests.analysis.server_lines import node, said
from tests.analysis.test_frames import only, prompt
from tests.simulator.driving import Driven, diffusion_graph

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


LOADS = """
Requested to load SDXL
loaded completely; 9000.00 MB usable, 4900.00 MB loaded, full load: True
"""


def event(at_s: float, kind: str, subject: str | None = "log", detail: str = "", server: str = SERVER) -> Event:
    at_ns = START_NS + round(at_s * S)
    return Event(at_ns=at_ns, source="sampler", kind=kind, server=server, subject=subject, detail=detail)


def loaded(directory: Path, *rows: Row) -> tuple[ModelLoad, ...]:
    return model_loads(only(directory, prompt(1), *rows))


def held_at(run: Run, at_s: float) -> Held:
    moment = np.datetime64(START_NS + round(at_s * S), "ns")
    return loaded_models(run, model_loads(run), SERVER).at(moment, np.timedelta64(0, "ns"))


def test_cold_is_what_a_loader_read_in_the_same_prompt(directory: Path) -> None:
    """Reading and moving are told apart; the next prompt finds the loader cached, and its load is warm."""
    first, second = loaded(
        directory,
        *said(LOADS, from_s=3.0),
        *said(LOADS, from_s=13.0),
        node(1, "4", "CheckpointLoaderSimple", 1.0, 2.5),
        node(1, "3", "KSampler", 2.9, 6.0),
        node(2, "3", "KSampler", 12.9, 16.0),
    )
    assert (first.origin, first.read_s, first.moved_s, first.lasted_s) == (Origin.COLD, 1.5, 1.0, 2.5)
    assert (second.origin, second.read_s, second.moved_s) == (Origin.WARM, None, 1.0)
    assert {load.file for load in (first, second)} == {"sdxl.safetensors"}
    assert first.place is not None
    assert (first.place.prompt_id[-1], first.place.node_class) == ("1", "KSampler")


def test_a_loader_that_moves_the_weights_itself_read_until_then(directory: Path) -> None:
    """A text encoder that goes to the GPU while it is loaded: its time is not counted twice."""
    (load,) = loaded(directory, *said(LOADS, from_s=3.0), node(1, "4", "CheckpointLoaderSimple", 1.0, 4.0))
    assert (load.origin, load.read_s, load.moved_s) == (Origin.COLD, 2.0, 1.0)


def test_a_line_is_put_into_the_node_that_uses_a_model(directory: Path) -> None:
    """The message that the sampler runs comes 50 ms after the line; the loader before it has just ended."""
    (load,) = loaded(
        directory,
        *said(LOADS, from_s=3.0),
        node(1, "4", "CheckpointLoaderSimple", 1.0, 3.01),
        node(1, "3", "KSampler", 3.05, 6.0),
        node(1, "5", "EmptyLatentImage", 3.02, 3.04),
    )
    assert load.place is not None
    assert load.place.node_class == "KSampler"


def test_a_line_just_before_the_next_node_is_the_next_nodes(directory: Path) -> None:
    """The message that the sampler runs comes 5 ms after its line; in the midst of a node a line is that node's."""
    encoder, sampler = loaded(
        directory,
        *said(LOADS, from_s=3.0),
        *said(LOADS, from_s=4.995),
        node(1, "6", "CLIPTextEncode", 2.9, 5.0),
        node(1, "3", "KSampler", 5.0, 8.0),
    )
    assert encoder.place is not None
    assert sampler.place is not None
    assert (encoder.place.node_class, sampler.place.node_class) == ("CLIPTextEncode", "KSampler")


def test_what_was_let_go_is_read_again(directory: Path) -> None:
    """Of a prompt that nobody saw, the first load after a settle is cold; without one nobody knows."""
    first, second, third = loaded(
        directory,
        *said(LOADS, from_s=3.0),
        event(6.0, "settled", "begin"),
        *said(LOADS, from_s=13.0),
        *said(LOADS, from_s=23.0),
    )
    assert [one.origin for one in (first, second, third)] == [Origin.UNKNOWN, Origin.COLD, Origin.UNKNOWN]


def test_the_log_tells_cold_from_warm_where_no_node_was_seen(directory: Path) -> None:
    """A loader prints what it reads: a model loaded after that is cold, one loaded without it is not."""
    read = "model weight dtype torch.float16, manual cast: None"
    rows = said(f"{read}{LOADS}\n{LOADS.strip()}\nVAE load device: cpu, offload device: cpu\n{LOADS.strip()}")
    assert [load.origin for load in loaded(directory, *rows)] == [Origin.COLD, Origin.WARM, Origin.WARM]


def test_two_servers_are_told_apart(directory: Path) -> None:
    """Each by its own lines, however they are interleaved."""
    other = "http://gpu-2:8188"
    rows = (
        *said(LOADS, from_s=3.0),
        *said(LOADS.replace("SDXL", "Flux"), from_s=3.5, server=other),
        prompt(2, server=other),
        node(1, "3", "KSampler", 2.9, 6.0),
        node(2, "3", "KSampler", 3.4, 6.5, server=other),
    )
    found = loaded(directory, *rows)
    assert [(load.server, load.model, load.moved_s) for load in found] == [(SERVER, "SDXL", 1.0), (other, "Flux", 1.0)]
    assert [load.place.prompt_id[-1] for load in found if load.place is not None] == ["1", "2"]


STAGED = """
Requested to load SDXL
Model SDXL prepared for dynamic VRAM loading. 4897MB Staged. 0 patches attached.
"""


def test_a_staged_load_ends_when_its_sampler_steps(directory: Path) -> None:
    """The log tells no end: it is that of the wait before the first step, and told to be."""
    usual = [node(number, "3", "KSampler", number * 10.0, number * 10 + 5.0, first_s=number * 10 + 0.5)
             for number in range(2, 8)]  # fmt: skip
    slow = node(1, "3", "KSampler", 1.0, 9.0, first_s=4.5)
    (load,) = loaded(directory, *said(STAGED, from_s=1.1, every_s=0.1), slow, *usual)
    assert (load.source, load.ended_by, load.staged) == (Source.LOG, Source.PROGRESS, True)
    assert load.moved_s == pytest.approx(4.5 - 0.5 - 1.1)


def test_staged_anew_with_its_weights_there_is_no_load(directory: Path) -> None:
    """Another LoRA strength in each prompt, the loader cached: one load of each of two models, and no thrash."""
    rows: list[Row] = [node(number, "4", "CheckpointLoaderSimple", number - 0.5, number - 0.1) for number in (1, 2)]
    for number in range(1, 13):
        began = float(number)
        staged = STAGED if number % 2 else STAGED.replace("SDXL", "Flux")
        rows += [*said(staged, from_s=began + 0.1, every_s=0.1), node(number, "3", "KSampler", began, began + 0.9)]
        rows += [prompt(number, start_received_ns=START_NS + round((began - 0.9) * S), outcome="success")]
    run = only(directory, *rows)
    assert [(load.model, load.origin) for load in model_loads(run)] == [("SDXL", Origin.COLD), ("Flux", Origin.COLD)]
    assert not list(thrash.find(run, GpuStates(run)))
    assert held_at(run, 8.0) == Held(staged=("SDXL", "Flux"))


def test_staged_anew_from_its_file_is_thrash(directory: Path) -> None:
    """The same with a loader that ran in each prompt: the file was read for each, which is what is paid."""
    rows: list[Row] = []
    for number in range(1, 13):
        began = float(number)
        staged = STAGED if number % 2 else STAGED.replace("SDXL", "Flux")
        rows += [*said(staged, from_s=began + 0.1, every_s=0.1), node(number, "3", "KSampler", began, began + 0.9)]
        rows += [prompt(number, start_received_ns=START_NS + round((began - 0.9) * S), outcome="success")]
        rows += [node(number, "4", "CheckpointLoaderSimple", began - 0.5, began - 0.1)]
    run = only(directory, *rows)
    (finding,) = thrash.find(run, GpuStates(run))
    assert "10 of 12 prompts" in finding.evidence
    assert "took nobody knows how long; for 10 of 10 a file was read" in finding.evidence


def lines_of(*models: str) -> tuple[Row, ...]:
    return tuple(
        row for index, name in enumerate(models) for row in said(LOADS.replace("SDXL", name), from_s=index * 3)
    )


def test_what_left_is_known_by_what_is_loaded_again(directory: Path) -> None:
    """A, B, A: with one load between, A left for it; with two, it may have left at either."""
    run = only(directory, *lines_of("A", "B", "A", "B", "C", "A"))
    assert [held_at(run, at) for at in (2, 4.5, 7.5, 10.5)] == [
        Held(sure=("A",)), Held(sure=("B",)), Held(sure=("A",)), Held(sure=("B",), perhaps=("A",)),
    ]  # fmt: skip
    assert held_at(run, 17) == Held(sure=("B", "C", "A"))


def test_models_unloaded_without_a_name_are_doubted(directory: Path) -> None:
    """One of two is gone and nobody says which; two of two are both."""
    run = only(
        directory, *lines_of("A", "B"), *said("1 models unloaded.", from_s=6), *said("2 models unloaded.", from_s=9)
    )
    assert held_at(run, 7) == Held(perhaps=("A", "B"))
    assert held_at(run, 10) == Held()


@pytest.mark.parametrize(
    "row",
    [event(6.0, "settled", "begin"), event(6.0, "server_restarted", None), event(6.0, "server_process_gone", None),
     *said("Using RAM pressure cache.", from_s=6), *said("Got an OOM, unloading all loaded models.", from_s=6),
     *said("To see the GUI go to: http://127.0.0.1:8188", from_s=6)],
)  # fmt: skip
def test_after_some_things_nothing_is_held(directory: Path, row: Row) -> None:
    """Memory let go, a start, an end, no memory left: whatever was there is gone."""
    run = only(directory, *lines_of("A", "B"), row)
    assert held_at(run, 5.9).sure == ("A", "B")
    assert held_at(run, 6.1) == Held()


def test_an_event_that_is_late_ends_nothing_that_came_after_the_start(directory: Path) -> None:
    """The log told of the restart first; a model loaded since then is still there."""
    ready = said("To see the GUI go to: http://127.0.0.1:8188", from_s=5)
    run = only(directory, *lines_of("A"), *ready, *said(LOADS, from_s=6), event(9.0, "server_restarted", None))
    assert held_at(run, 10.0) == Held(sure=("SDXL",))


def test_while_the_log_was_away_memory_tells(directory: Path) -> None:
    """Lines were lost between: what memory told meanwhile counts, and the words say why."""
    run = open_run(plant(directory, log=False, other_rows=(
        *said(LOADS, from_s=1.0), event(5.0, "log_missing", detail="no log lines: cut"), event(30.0, "source_found"),
        event(30.1, "log_gap"),
    )))  # fmt: skip
    found = model_loads(run)
    away = [load for load in found if load.source is Source.MEMORY]
    assert away
    assert all(5.0 <= (load.started - run.start).total_seconds() <= 30.0 for load in away)
    words = " ".join(told_by(run, found))
    assert f"1 by the server's log, {len(away)} by steps of GPU memory" in words
    assert "its log could not be read once" in words
    assert "lines of its log were lost once" in words


def test_lines_read_up_after_a_cut_are_no_loss(directory: Path) -> None:
    """The server keeps its last lines: memory is not asked for what the log has told."""
    run = open_run(plant(directory, other_rows=(event(5.0, "log_missing"), event(30.0, "source_found"))))
    found = model_loads(run)
    assert {load.source for load in found} == {Source.LOG}
    assert told_by(run, found) == (f"{len(found)} loads: {len(found)} by the server's log.",)


def test_the_table_has_a_row_a_model(directory: Path) -> None:
    """How often each, cold and warm, how long, how much, told by what."""
    rows = (
        *lines_of("A", "B", "A"),
        node(1, "4", "CheckpointLoaderSimple", 0.0, 0.5),
        node(1, "3", "KSampler", 0.9, 9.0),
    )
    first, second = figures_by_model(loaded(directory, *rows))
    assert (first.model, first.count, first.moved_median_s, first.sources) == ("A", 2, 1.0, "log")
    assert (second.model, second.count, second.unknown) == ("B", 1, 0)
    assert first.sizes_bytes == pytest.approx((4900 * 2**20, 4900 * 2**20))


def test_files_of_one_model_have_sizes_of_their_own(directory: Path) -> None:
    """Two checkpoints of one class: the least and the most, and no size that none of them has."""
    found = loaded(directory, *lines_of("A", "A"))
    sizes = [replace(load, size_bytes=size * 2.0**30) for load, size in zip(found, (2, 7), strict=True)]
    (only,) = figures_by_model(sizes)
    assert only.sizes_bytes == (2 * 2**30, 7 * 2**30)


@pytest.mark.parametrize(("version", "dynamic"), [("0.3.64", False), ("0.33.0", False), ("0.33.0", True)])
def test_the_simulator_is_read_like_the_real_ones(directory: Path, version: str, dynamic: bool) -> None:
    """Two checkpoints that do not fit together, in turn: each prompt loads its model, whatever the wording."""
    gpu = {"memory": "8 GiB", "load_bandwidth": "2 GiB", "dynamic_vram": dynamic}
    files = {"checkpoints/a.safetensors": "6 GiB", "checkpoints/xl.safetensors": "6 GiB"}
    driven = Driven(version=version, models=files, gpu=gpu)
    begun_ns = driven.clock.now_ns()
    for seed, name in enumerate(("a", "xl", "a", "xl")):
        driven.ran(diffusion_graph(seed, f"{name}.safetensors"))
    rows = [
        ServerLog(at_ns=line.at_ns - begun_ns + START_NS, server=SERVER, source="http", kind=kept.kind,
                  model=kept.model, loaded_bytes=kept.loaded_bytes, text=kept.text)
        for line in driven.machine.log.lines if (kept := parse_line(line.text)) is not None
    ]  # fmt: skip
    found = [load for load in loaded(directory, *rows) if load.model in ("BaseModel", "SDXL")]
    assert [load.model for load in found] == ["BaseModel", "SDXL"] * 2
    assert {load.staged for load in found} == {dynamic}
    assert all(load.moved_s is None if dynamic else load.moved_s == pytest.approx(2.34, abs=0.1) for load in found)

"""The engine by a clock that stands: queue, cache, progress, interrupts, validation."""

from __future__ import annotations

from typing import Any

import pytest

from comfysoak_simulator.messages import Binary
from tests.simulator.driving import Driven, diffusion_graph, end_of, picture_graph, steps_graph, took_s

VERSIONS = ("0.3.64", "0.33.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_hour_passes_as_fast_as_the_clock(version: str) -> None:
    """An hour of prompts, one every ten seconds, ends with all of them in history and an hour on the clock."""
    driven = Driven(version=version)
    start_ns = driven.clock.now_ns()
    ids = []
    for number in range(360):
        ids.append(driven.submit(diffusion_graph(number)))
        driven.run(10)
    assert driven.clock.now_ns() - start_ns == 3600 * 10**9
    assert list(driven.engine.queue.history) == ids
    assert all(took_s(driven.history(prompt_id)) < 10 for prompt_id in ids)


def test_lower_numbers_run_first_and_ties_go_by_id() -> None:
    """Numbers decide the order, `front` gives negative ones, equal numbers are ordered by prompt id."""
    driven = Driven(version="0.3.64")
    busy = driven.submit(steps_graph(1, 1.0, "busy"))
    driven.engine.advance()
    late = driven.submit(picture_graph(1), number=50)
    tied = [driven.submit(picture_graph(2), number=7, prompt_id=name) for name in ("b", "a")]
    first = driven.submit(picture_graph(3), front=True)
    driven.run()
    assert list(driven.engine.queue.history) == [busy, first, tied[1], tied[0], late]


def test_two_equal_prompts_in_the_queue_cannot_be_compared() -> None:
    """Same number and id twice: the request ends in an error, and yet the prompt is queued."""
    driven = Driven(version="0.3.64")
    driven.submit(steps_graph(1, 1.0, "busy"))
    driven.engine.advance()
    driven.submit(picture_graph(1), number=7, prompt_id="same")
    with pytest.raises(TypeError):
        driven.submit(picture_graph(2), number=7, prompt_id="same")
    assert len(driven.engine.queue.pending) == 2


def test_progress_is_throttled_in_the_newer_version_only() -> None:
    """40 steps of 20 ms: all are told by 0.3.64, by 0.33 the first, one each 100 ms, and the last."""
    older, newer = Driven(version="0.3.64"), Driven(version="0.33.0")
    for driven in (older, newer):
        driven.ran(steps_graph(40, 0.02))
    assert [data["value"] for data in older.sent("progress")] == list(range(1, 41))
    assert [data["value"] for data in newer.sent("progress")] == [1, 6, 11, 16, 21, 26, 31, 36, 40]


def test_many_steps_are_told_at_most_per_half_a_percent() -> None:
    """3000 steps of 13.5 ms: after the first at most one in 15 is told (0.33)."""
    driven = Driven(version="0.33.0")
    driven.ran(steps_graph(3000, 0.0135))
    assert [data["value"] for data in driven.sent("progress")][:4] == [1, 16, 31, 46]


def test_previews_are_told_at_every_step() -> None:
    """A step with a preview is never left out, and its picture is a JPEG of the preview size."""
    driven = Driven(version="0.33.0", previews="latent2rgb", costs={"KSampler": {"steps": "{steps}"}})
    driven.ran(diffusion_graph(1, steps=20))
    frames = [message.data for message in driven.messages if message.event is Binary.IMAGE]
    assert len(driven.sent("progress")) == len(frames) == 20
    assert all(frame[:4] == b"\x00\x00\x00\x01" and frame[4:6] == b"\xff\xd8" for frame in frames)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_interrupt_ends_the_prompt_at_the_next_step(version: str) -> None:
    """A node that reports progress is interrupted at its next update."""
    driven = Driven(version=version)
    prompt_id = driven.submit(steps_graph(20, 0.2))
    driven.run(0.5)
    driven.engine.interrupt(prompt_id)
    driven.run()
    assert end_of(driven.history(prompt_id))["event"] == "execution_interrupted"
    assert took_s(driven.history(prompt_id)) == pytest.approx(0.6)


def test_a_sampler_is_interrupted_within_a_step_in_the_newer_version_only() -> None:
    """0.33 looks at the interrupt in every layer, 0.3.64 once a step."""
    for version, seconds in (("0.3.64", 10.0), ("0.33.0", 1.0)):
        costs = {"KSampler": {"steps": "{steps}", "seconds_per_step": 10}}
        driven = Driven(version=version, costs=costs, gpu={"load_bandwidth": "1 TiB"})
        prompt_id = driven.submit(diffusion_graph(1))
        driven.run(1.0)
        driven.engine.interrupt()
        driven.run()
        assert took_s(driven.history(prompt_id)) == pytest.approx(seconds, abs=0.2)


def test_a_stale_interrupt_is_forgotten() -> None:
    """An interrupt while nothing runs does not touch the next prompt."""
    driven = Driven()
    driven.engine.interrupt()
    assert end_of(driven.ran(picture_graph()))["event"] == "execution_success"


def test_what_ran_before_is_cached_and_what_changed_is_not() -> None:
    """The same graph again does no work; with another seed only what depends on it runs."""
    driven = Driven()
    driven.ran(diffusion_graph(1))
    driven.ran(diffusion_graph(1))
    driven.ran(diffusion_graph(2))
    cached = [set(data["nodes"]) for data in driven.sent("execution_cached")]
    assert cached == [set(), {"3", "4", "5", "6", "7", "8", "9"}, {"4", "5", "6", "7"}]


@pytest.mark.parametrize(("kind", "hits"), [("classic", 0), ("default", 0), ("none", 0), ("lru", 2)])
def test_alternating_graphs_hit_an_lru_cache_only(kind: str, hits: int) -> None:
    """A, B, A: the results of A are still there in an LRU cache, and in no other."""
    driven = Driven(cache=kind)
    for colour in (1, 2, 1):
        driven.ran(picture_graph(colour))
    assert len(driven.sent("execution_cached")[-1]["nodes"]) == hits


def test_free_memory_empties_the_cache_and_unloads() -> None:
    """POST /free with both flags: the same graph runs again, and its models are loaded again."""
    driven = Driven()
    driven.ran(diffusion_graph(1))
    driven.engine.free(unload_models=True, free_memory=True)
    driven.run()
    assert driven.machine.gpu is not None
    assert driven.machine.gpu.torch_bytes == 0
    driven.ran(diffusion_graph(1))
    assert driven.sent("execution_cached")[-1]["nodes"] == []
    assert driven.log.count("Requested to load BaseModel") == 2


def test_a_prompt_without_a_client_tells_progress_to_all_and_the_rest_to_nobody() -> None:
    """Without client_id there are no execution messages, and progress goes to everyone."""
    driven = Driven()
    driven.engine.submit({"prompt": steps_graph(2, 0.2)})
    driven.run()
    kinds = {message.event for message in driven.messages}
    assert kinds == {"status", "progress", "progress_state"}
    assert {message.to for message in driven.messages} == {None}


def test_batches_make_as_many_pictures() -> None:
    """A batch of three is three files, in history and on the disk."""
    driven = Driven()
    entry = driven.ran(diffusion_graph(1, batch=3))
    names = [image["filename"] for image in entry["outputs"]["9"]["images"]]
    assert names == [f"diffusion_0000{number}_.png" for number in (1, 2, 3)]


def test_a_dump_of_object_info_takes_the_place_of_the_built_in_nodes() -> None:
    """With a dump the server knows the classes in it, and no others."""
    info = {
        "MyNode": {
            "input": {"required": {"strength": ["FLOAT", {"min": 0.0, "max": 2.0}]}},
            "output": ["IMAGE"],
            "output_node": False,
        },
        "SaveImage": {
            "input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
            "output": [],
            "output_node": True,
        },
    }
    driven = Driven(object_info=info, costs={"MyNode": {"seconds": "2 * {strength}"}})
    prompt: dict[str, Any] = {
        "1": {"class_type": "MyNode", "inputs": {"strength": 1.5}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "mine"}},
    }
    assert took_s(driven.ran(prompt)) == pytest.approx(3.0)
    prompt["1"]["inputs"]["strength"] = 3
    status, answer = driven.engine.submit({"prompt": prompt})
    assert (status, answer["node_errors"]["1"]["errors"][0]["type"]) == (400, "value_bigger_than_max")
    assert driven.engine.submit({"prompt": diffusion_graph(1)})[0] == 400


def test_a_missing_model_is_refused_by_the_newer_version_and_fails_in_the_older() -> None:
    """A choice declared in the newer style is checked by 0.33 only; 0.3.64 finds out when it runs."""
    prompt = {
        "1": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "absent.pth"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    assert Driven(version="0.33.0").engine.submit({"prompt": prompt})[0] == 400
    older = Driven(version="0.3.64")
    assert end_of(older.ran(prompt))["exception_type"] == "FileNotFoundError"


def test_a_cycle_of_links_is_refused_by_both_versions() -> None:
    """0.33 names the cycle, 0.3.64 has no word for it; neither hangs."""
    prompt = {
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    }
    status, answer = Driven(version="0.3.64").engine.submit({"prompt": prompt})
    assert (status, answer["node_errors"]) == (400, {})
    status, answer = Driven(version="0.33.0").engine.submit({"prompt": prompt})
    assert answer["node_errors"]["1"]["errors"][0]["type"] == "dependency_cycle"

"""Variation: what is found by itself, what can be named, and that a draw is a function of its generator alone."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.comfyui.expected import ExpectedFiles
from comfysoak_core.comfyui.variation import (
    NOTHING_VARIES,
    ONLY_OUTPUTS_VARY,
    NodeMapping,
    Range,
    Variation,
    Vary,
    applied,
    check_variation,
)
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ScenarioError
from comfysoak_core.outputs.expected import Expected

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 20,
            "cfg": 8.0,
            "denoise": 1,
            "model": ["4", 0],
            "positive": ["10", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
        "_meta": {"title": "Sampler"},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "bad", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
    "10": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0], "guidance": 3.5}},
}


def _varied(vary: Vary, graph: dict[str, Any] | None = None) -> Variation:
    return Variation(Workflow.from_graph(graph or GRAPH), vary)


def _with(node_id: str, **inputs: Any) -> dict[str, Any]:
    node = GRAPH[node_id]
    return {**GRAPH, node_id: {**node, "inputs": {**node["inputs"], **inputs}}}


def _wrong(vary: Vary, graph: dict[str, Any] | None = None) -> str:
    with pytest.raises(ScenarioError) as caught:
        check_variation(Workflow.from_graph(graph or GRAPH), vary)
    return str(caught.value)


def test_seeds_are_found_and_drawn() -> None:
    """The sampler's seed varies by itself, everything else stays."""
    variation = _varied(Vary())
    draws = [variation.draw(Random(number)) for number in range(5)]
    assert variation.paths == ("3.seed",)
    assert len({draw.values["3.seed"] for draw in draws}) == 5
    assert draws[0].graph == applied(GRAPH, draws[0].values)
    assert variation.draw(Random(3)) == draws[3]


def test_a_seed_behind_a_link_is_found() -> None:
    """A seed that comes from a node of its own is varied there."""
    graph = {**_with("3", seed=["20", 0]), "20": {"class_type": "PrimitiveInt", "inputs": {"value": 7}}}
    assert _varied(Vary(), graph).paths == ("20.value",)


def test_noise_seeds_are_found_and_odd_seeds_left() -> None:
    """noise_seed counts; a seed that is no whole number does not."""
    graph = {
        **_with("3", seed="random"),
        "20": {"class_type": "RandomNoise", "inputs": {"noise_seed": 5}},
        "21": {"class_type": "X", "inputs": {"seed": True}},
    }
    assert _varied(Vary(), graph).paths == ("20.noise_seed",)


def test_seeds_stay_within_what_the_node_takes() -> None:
    """Nodes that are not the stock samplers get 32 bits, or what the server's limits say."""
    graph = {**GRAPH, "20": {"class_type": "HisOwnSampler", "inputs": {"seed": 5}}}
    limits = {("KSampler", "seed"): (10, 12)}
    variation = Variation(Workflow.from_graph(graph), Vary(), limits)
    draws = [variation.draw(Random(number)).values for number in range(200)]
    assert {draw["3.seed"] for draw in draws} == {10, 11, 12}
    assert max(draw["20.seed"] for draw in draws) < 2**32
    assert max(_varied(Vary()).draw(Random(n)).values["3.seed"] for n in range(50)) > 2**32


def test_seed_modes() -> None:
    """Counted up from the graph's own, left alone, or one number."""
    rng = Random(0)
    counted = _varied(Vary(seed="increment"))
    assert [counted.draw(rng, index).values["3.seed"] for index in (0, 1, 5)] == [42, 43, 47]
    assert _varied(Vary(seed="fixed")).draw(rng).values == {}
    assert _varied(Vary(seed=9)).draw(rng).values == {"3.seed": 9}


def test_counted_seeds_begin_again_at_the_end() -> None:
    """A seed at the end of its range goes on at the beginning."""
    variation = Variation(Workflow.from_graph(GRAPH), Vary(seed="increment"), {("KSampler", "seed"): (40, 43)})
    assert [variation.draw(Random(0), index).values["3.seed"] for index in range(4)] == [42, 43, 40, 41]


def test_prompts_go_into_the_positive_encoder() -> None:
    """The text is followed back from the sampler, through what changes conditioning on the way."""
    variation = _varied(Vary(seed="fixed", prompts=("a dog", "a fish")))
    values = {variation.draw(Random(number)).values["6.text"] for number in range(20)}
    assert values == {"a dog", "a fish"}


def test_prompts_are_put_where_the_text_is_held() -> None:
    """A text that comes from a node of its own is put there; both texts of an SDXL encoder get it."""
    graph = {**_with("6", text=["20", 0]), "20": {"class_type": "PrimitiveString", "inputs": {"value": "x"}}}
    assert _varied(Vary(seed="fixed", prompts=("a", "b")), graph).paths == ("20.value",)
    sdxl = {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a", "text_l": "a", "clip": ["4", 1]}}
    assert _varied(Vary(seed="fixed", prompts=("a", "b")), {**GRAPH, "6": sdxl}).paths == ("6.text_g", "6.text_l")


def test_an_ambiguous_prompt_has_to_be_named() -> None:
    """Two encoders that are mixed are both named, with the way to say which."""
    graph = {
        **_with("10", conditioning=["20", 0]),
        "20": {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0], "conditioning_2": ["7", 0]}},
    }
    words = _wrong(Vary(prompts=("a",)), graph)
    assert "ambiguous" in words
    assert "6.text" in words
    assert "7.text" in words
    assert "inputs:" in words


def test_a_graph_without_a_prompt_says_so() -> None:
    """Prompts for a graph that takes none are a mistake."""
    graph = {"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}
    assert "no positive prompt was found" in _wrong(Vary(prompts=("a",)), graph)


def test_any_input_by_its_path() -> None:
    """Lists are chosen from; ranges give whole numbers where the input holds one, and fractions elsewhere."""
    vary = Vary(
        seed="fixed",
        inputs={
            "3.steps": Range(10.0, 30.0),
            "3.cfg": Range(1, 12.5),
            "3.denoise": Range(0.0, 1.0),
            "4.ckpt_name": ("a.safetensors", "b.safetensors"),
        },
    )
    draws = [_varied(vary).draw(Random(number)).values for number in range(40)]
    assert all(type(draw["3.steps"]) is int and 10 <= draw["3.steps"] <= 30 for draw in draws)
    assert len({draw["3.steps"] for draw in draws}) > 5
    assert all(type(draw["3.cfg"]) is float for draw in draws)
    assert any(0.1 < draw["3.denoise"] < 0.9 for draw in draws)
    assert {draw["4.ckpt_name"] for draw in draws} == {"a.safetensors", "b.safetensors"}


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("3.step", "the nearest is 3.steps (KSampler)"),
        ("KSampler.steps", "the nearest is 3.steps (KSampler)"),
        ("Sampler.cfg", "the nearest is 3.cfg (KSampler)"),
        ("33.steps", "the nearest is 3.steps (KSampler)"),
        ("zzzzzz", "for example 3.seed (KSampler)"),
    ],
)
def test_a_path_that_names_nothing_is_told_with_the_nearest(path: str, near: str) -> None:
    """Spelling, class and title lead to the path that was meant."""
    words = _wrong(Vary(inputs={path: (1, 2)}))
    assert f"{path} names no input" in words
    assert near in words


def test_paths_with_dots() -> None:
    """Node ids and inputs may hold dots; the longest id that fits wins."""
    graph = {
        "1": {"class_type": "A", "inputs": {"2.x": 1, "resize.width": 3}},
        "1.2": {"class_type": "B", "inputs": {"x": 1}},
    }
    values = _varied(Vary(inputs={"1.2.x": (5,), "1.resize.width": (7,)}), graph).draw(Random(0))
    assert values.graph["1.2"]["inputs"]["x"] == 5
    assert values.graph["1"]["inputs"] == {"2.x": 1, "resize.width": 7}


def test_all_mistakes_are_told_together() -> None:
    """Three wrong things are three problems."""
    vary = Vary(inputs={"3.nope": (1,), "99.x": (1,)}, nodes=(NodeMapping("seed", "seed", ("77",)),))
    with pytest.raises(ScenarioError) as caught:
        check_variation(Workflow.from_graph(GRAPH), vary)
    assert len(caught.value.problems) == 3


def test_the_platforms_mapping() -> None:
    """Prompt and seed entries are filled, one value for all ids of a seed; fixed values go in as they are."""
    graph = {**GRAPH, "20": {"class_type": "RandomNoise", "inputs": {"noise_seed": 1, "seed": 2}}}
    vary = Vary(
        prompts=("a dog",),
        nodes=(
            NodeMapping("prompt", "text", ("6",)),
            NodeMapping("seed", "seed", ("3", "20")),
            NodeMapping("width", "", ("5",)),
            NodeMapping("", "filename_prefix", ("9",), "load"),
        ),
    )
    draw = _varied(vary, graph).draw(Random(1))
    assert draw.values["3.seed"] == draw.values["20.seed"]
    assert draw.values["20.noise_seed"] != draw.values["20.seed"]
    assert (draw.values["6.text"], draw.values["9.filename_prefix"]) == ("a dog", "load")
    assert "5.width" not in draw.values


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        (NodeMapping("seed", "seed", ("77",)), "names node 77, which is not there"),
        (NodeMapping("seed", None, ("3",)), "has no key"),
        (NodeMapping("seed", node_ids=("3",)), 'A key that is left out means "text"'),
        (NodeMapping("seed", "sed", ("3",)), "3.sed names no input"),
    ],
)
def test_mappings_the_platform_would_ignore_or_refuse(mapping: NodeMapping, words: str) -> None:
    """A wrong key is told here; the platform sends it and nothing happens."""
    assert words in _wrong(Vary(nodes=(mapping,)))


def test_what_is_named_wins_over_what_is_found() -> None:
    """An input by its path takes the place of the seed found there."""
    variation = _varied(Vary(inputs={"3.seed": (1, 2)}))
    assert variation.paths == ("3.seed",)
    assert variation.draw(Random(0)).values["3.seed"] in {1, 2}


def test_warnings() -> None:
    """Nothing that varies, or only what comes after the work, is told before the run."""
    assert _varied(Vary()).warnings == ()
    assert _varied(Vary(seed="fixed")).warnings == (NOTHING_VARIES,)
    assert _varied(Vary(seed=5, inputs={"3.steps": (20,)})).warnings == (NOTHING_VARIES,)
    assert _varied(Vary(seed="fixed", inputs={"9.filename_prefix": ("a", "b")})).warnings == (ONLY_OUTPUTS_VARY,)


def test_the_body_of_a_request() -> None:
    """Ids, further fields and the graph with its values, as POST /prompt takes them."""
    draw = _varied(Vary(inputs={"6.text": ('say "hi" \\ \u00e9',)})).draw(Random(5))
    body = json.loads(draw.body("p", "c", {"front": True}))
    assert (body["prompt_id"], body["client_id"], body["front"]) == ("p", "c", True)
    assert body["prompt"] == applied(GRAPH, draw.values)
    assert json.loads(draw.variation) == draw.values


def test_sizes_that_vary_change_what_is_expected() -> None:
    """The expectation of a draw is that of its own graph."""
    variation = _varied(Vary(inputs={"5.width": (256, 1024), "5.batch_size": (2,)}))
    for number in range(6):
        draw = variation.draw(Random(number))
        assert draw.expected == {"9": ExpectedFiles(2, Expected(draw.values["5.width"], 512))}
    assert _varied(Vary()).draw(Random(0)).expected == {"9": ExpectedFiles(1, Expected(512, 512))}


def test_a_graph_that_holds_what_marks_the_gaps() -> None:
    """No text in a workflow can be taken for a gap."""
    graph = _with("7", text='"place:0" _place:0')
    draw = _varied(Vary(), graph).draw(Random(0))
    assert draw.graph == applied(graph, draw.values)


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=9) | st.integers(-9, 9), max_size=4), st.data()
)
def test_a_draw_is_the_graph_with_its_values(inputs: dict[str, Any], data: st.DataObject) -> None:
    """Joined pieces of JSON give what putting the values into the graph gives, for any texts."""
    graph = {"a.b": {"class_type": "K", "inputs": {"seed": 1, **inputs}}, "a": {"class_type": "K", "inputs": {"b": 2}}}
    names = data.draw(st.lists(st.sampled_from(sorted(graph["a.b"]["inputs"])), unique=True))
    vary = Vary(inputs={f"a.b.{name}": (data.draw(st.text(max_size=9)), 3) for name in names})
    draw = _varied(vary, graph).draw(Random(data.draw(st.integers(0, 99))))
    assert draw.graph == applied(graph, draw.values)

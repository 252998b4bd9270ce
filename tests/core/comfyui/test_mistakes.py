"""Mistakes on purpose: each is one that both versions refuse, whatever the graph."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.core.comfyui.lives import SHAPE, prompt

from comfysoak_core.comfyui.ending import ending_of_accepted, ending_of_success
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.mistakes import BROKEN_JSON, DEFAULT_KINDS, KILLS_WORKER, KINDS, Mistakes, edited
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.stock import GIVES, INPUTS, Kind, Number
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.embedded import Version
from comfysoak_simulator.catalogue import Catalogue
from comfysoak_simulator.models import ModelFiles
from comfysoak_simulator.validation import Validator

VERSIONS: tuple[Version, ...] = ("0.3.64", "0.33.0")
WORKFLOWS = Path(__file__).parents[3] / "scenarios" / "workflows"
NO_MODEL: dict[str, Any] = json.loads((WORKFLOWS / "no-model.json").read_text())
TWO_ENDS: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "in.png"}},
    "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "area", "width": 8, "height": 8,
                                                 "crop": "disabled"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}},
    "4": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "5": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}},
}  # fmt: skip
SAMPLER: dict[str, Any] = {
    "1": {"class_type": "HarnessConditioning", "inputs": {"width": 64, "pooled": 8}},
    "2": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "3": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors", "weight_dtype": "default"}},
    "4": {"class_type": "KSampler", "inputs": {
        "model": ["3", 0], "positive": ["1", 0], "negative": ["1", 0], "latent_image": ["2", 0], "seed": 1, "steps": 2,
        "cfg": 1.0, "denoise": 1.0, "sampler_name": "euler", "scheduler": "normal"}},
    "5": {"class_type": "SaveLatent", "inputs": {"samples": ["4", 0], "filename_prefix": "l"}},
}  # fmt: skip
GRAPHS = {"no-model": NO_MODEL, "two-ends": TWO_ENDS, "sampler": SAMPLER}


def _catalogue(version: Version) -> Catalogue:
    return Catalogue.built_in(version, ModelFiles({"diffusion_models/a.safetensors": 1}))


@pytest.fixture(scope="module", params=VERSIONS)
def validator(request: pytest.FixtureRequest) -> Validator:
    """The validation of each version, with one model and one uploaded picture."""
    return Validator(_catalogue(request.param), request.param, lambda name: name == "in.png")


@pytest.mark.parametrize("name", GRAPHS)
def test_every_mistake_is_refused_by_both_versions(name: str, validator: Validator) -> None:
    """Forty of each kind that fits: validation refuses the whole prompt, and takes it without the mistake."""
    graph = GRAPHS[name]
    assert validator.check(copy.deepcopy(graph), None).error is None
    found = Mistakes(graph)
    drawn = [found.draw(Random(seed)) for seed in range(40 * len(found.kinds))]
    assert {mistake.kind for mistake in drawn} == set(found.kinds)
    for mistake in drawn:
        if mistake.kind != BROKEN_JSON:
            verdict = validator.check(edited(copy.deepcopy(graph), mistake.edits), None)
            assert verdict.error is not None, mistake


def test_which_kinds_fit_follows_from_the_graph() -> None:
    """Where no picture is loaded no file can be missing; the kind that kills a worker is never taken unasked."""
    fits = {name: set(Mistakes(graph).kinds) for name, graph in GRAPHS.items()}
    assert set(DEFAULT_KINDS) - fits["no-model"] == {"missing-file", "wrong-link"}
    assert set(DEFAULT_KINDS) - fits["sampler"] == {"missing-file"}
    assert set(DEFAULT_KINDS) - fits["two-ends"] == {"missing-file", "wrong-link", "cycle", "not-in-list"}
    assert KILLS_WORKER not in DEFAULT_KINDS


def test_a_kind_that_does_not_fit_is_told_with_those_that_do() -> None:
    """A scenario that names it is wrong, and is told what would be right."""
    with pytest.raises(ScenarioError, match="missing-file") as told:
        Mistakes(NO_MODEL, ["bad-type", "missing-file"])
    assert "out-of-range" in told.value.problems[0].remedy


def test_the_same_random_numbers_make_the_same_mistake() -> None:
    """A mistake follows from the seed, and its edits alone make it again."""
    mistakes = Mistakes(SAMPLER)
    for seed in range(50):
        first, second = (mistakes.draw(Random(seed)) for _ in range(2))
        assert first == second
        again = json.loads(json.dumps(first.edits))
        assert edited(SAMPLER, again) == edited(SAMPLER, first.edits)


def test_the_graph_itself_stays_as_it_is() -> None:
    """Thousands of prompts share it."""
    graph: Graph = copy.deepcopy(TWO_ENDS)
    mistakes = Mistakes(graph, [kind for kind in KINDS if kind in set(Mistakes(graph).kinds) | {KILLS_WORKER}])
    for seed in range(100):
        edited(graph, mistakes.draw(Random(seed)).edits)
    assert graph == TWO_ENDS


def test_the_kind_that_kills_a_worker_is_there_when_named() -> None:
    """A node without `inputs` that nothing needs: servers accept it."""
    mistake = Mistakes(NO_MODEL, [KILLS_WORKER]).draw(Random(0))
    (added,) = edited(NO_MODEL, mistake.edits).keys() - NO_MODEL.keys()
    assert "inputs" not in edited(NO_MODEL, mistake.edits)[added]


def test_an_output_of_an_unknown_class_is_reached_too() -> None:
    """Of a class nobody knows all inputs are taken away: some of them will be required."""
    graph: Graph = {**NO_MODEL, "3": {"class_type": "MyOwnSink", "inputs": {"pictures": ["2", 0], "name": "x"}}}
    edits = [Mistakes(graph, ["missing-input"]).draw(Random(seed)).edits for seed in range(30)]
    assert {"3.pictures": None, "3.name": None} in edits


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_said_of_stock_nodes_is_so(version: Version) -> None:
    """Required inputs, bounds, choices that are checked, and types, as /object_info has them."""
    classes = _catalogue(version).classes
    for name, inputs in INPUTS.items():
        for input_name, kind in inputs.items():
            spec = classes[name].inputs[input_name]
            assert spec.required
            if isinstance(kind, Number):
                assert (spec.settings["min"], spec.settings["max"]) == (kind.least, kind.most), (name, input_name)
            elif kind is Kind.CHOICE:
                assert spec.choices is not None
                assert version == "0.33.0" or not spec.newer_choices, (name, input_name)
    for name, given in GIVES.items():
        assert classes[name].outputs[0] == given, name


def test_an_accepted_mistake_is_named() -> None:
    """The cause of the failure is the server's acceptance; how the prompt ended is in the message."""
    ending = ending_of_accepted(ending_of_success(cached=False, codes=frozenset()), "out-of-range")
    assert ending.code == "MISTAKE_ACCEPTED"
    assert ending.error_message == "the prompt with the mistake 'out-of-range' was accepted, and ended as success"


def test_a_seed_makes_the_same_mistake_in_every_process() -> None:
    """What is drawn from does not follow the order of a set of texts, which is another in each process."""
    code = (
        "from random import Random; from comfysoak_core.comfyui.mistakes import Mistakes\n"
        "graph = {'1': {'class_type': 'MyOwn', 'inputs': {'a': 1}}}\n"
        "graph |= {f'{n}': {'class_type': f'SaveMine{n}', 'inputs': {'images': ['1', 0]}} for n in range(2, 8)}\n"
        "print([Mistakes(graph, [k]).draw(Random(1)) for k in ('missing-input', 'missing-link', 'bad-link')])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_a_workflow_without_an_output_takes_no_mistakes() -> None:
    """A circle is refused as it is."""
    circle = {"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}}}
    with pytest.raises(ScenarioError, match="no node of this workflow is an output"):
        Mistakes(circle)


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "rejected"), (500, "rejected"), (404, "failed"), (503, "failed")]
)
def test_broken_json_is_refused_by_who_could_not_read_it(status: int, outcome: str) -> None:
    """A server that refuses any body at all has not refused this one as it should."""
    one = PromptLife(prompt(expected="rejected", deliberate=BROKEN_JSON), SHAPE)
    one.sent(1)
    one.answered(status, b"no", 2)
    assert (one.row.outcome, one.row.code) == (outcome, "SUBMIT_ERROR")

"""What is judged of a graph before it is sent, against what real servers answered, and the simulator's validation."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from comfysoak_core.comfyui.judgement import FaultKind, checks_newer_choices, judge, version_of
from comfysoak_core.comfyui.mistakes import Mistakes, edited
from comfysoak_core.comfyui.node_classes import Input, NodeClass, fits
from comfysoak_core.scenario.embedded import Version
from comfysoak_simulator.catalogue import Catalogue
from comfysoak_simulator.models import ModelFiles
from comfysoak_simulator.validation import Validator

RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
WORKFLOWS = Path(__file__).parents[3] / "scenarios" / "workflows"
VERSIONS: tuple[Version, ...] = ("0.3.64", "0.33.0")
_OF_GRAPHS = {"prompt_no_outputs", "prompt_outputs_failed_validation"}


def catalogue(version: Version) -> Catalogue:
    return Catalogue.built_in(version, ModelFiles({}))


def recorded() -> list[Any]:
    """Every graph in the recordings of validation, with what the server said; of classes that it knew."""
    found = []
    for path in sorted(RECORDINGS.glob("03*.json")):
        graph = None
        for step in json.loads(path.read_text(encoding="utf-8"))["steps"]:
            if step.get("path") != "/prompt":
                continue
            if step["dir"] == "request":
                graph = step.get("json", {}).get("prompt") if isinstance(step.get("json"), dict) else None
            elif (
                graph
                and step["status"] in (200, 400)
                and (step["status"] == 200 or step["json"]["error"]["type"] in _OF_GRAPHS)
            ):
                found.append(pytest.param(graph, step["json"], id=path.stem))
    return found


@pytest.mark.parametrize(("graph", "answer"), recorded())
def test_what_a_real_server_refused_is_refused(graph: dict[str, Any], answer: dict[str, Any]) -> None:
    """The same nodes and the same inputs, by its own recordings."""
    if not isinstance(graph, dict) or not all(isinstance(node, dict) and "inputs" in node for node in graph.values()):
        return
    judged = judge(graph, catalogue("0.3.64").classes, checks_newer_choices=False)
    assert bool(judged.good_outputs) is ("error" not in answer)
    named = {
        (node_id, error["extra_info"]["input_name"])
        for node_id, node in answer["node_errors"].items()
        for error in node["errors"]
    }
    assert {(fault.node_id, fault.input_name) for fault in judged.faults if fault.refused} == named


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["sdxl", "no-model", "picture"])
def test_mistakes_are_judged_as_the_server_judges_them(version: Version, name: str) -> None:
    """Every kind of mistake, wherever it can be made: refused by both, or by neither."""
    graph = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    known = catalogue(version)
    validator = Validator(known, version, lambda _name: True)
    mistakes, rng = Mistakes(graph), Random(7)
    for _ in range(120):
        mistake = mistakes.draw(rng)
        wrong = edited(graph, mistake.edits)
        if mistake.kind in ("no-class-type", "unknown-node", "broken-json", "missing-file"):
            continue
        judged = judge(wrong, known.classes, checks_newer_choices=checks_newer_choices(version))
        try:
            refused = validator.check(copy.deepcopy(wrong), None).error is not None
        except (TypeError, AttributeError):
            refused = True  # the answer to it is a 500
        assert (not judged.good_outputs) is refused, (mistake, judged.faults)
    assert judge(graph, known.classes).good_outputs


def _node(inputs: dict[str, Any], held: dict[str, Any]) -> list[tuple[str, str]]:
    classes = {"X": NodeClass("X", {"input": inputs, "output": [], "output_node": True, "python_module": "nodes"})}
    judged = judge({"1": {"class_type": "X", "inputs": held}}, classes)
    return [(fault.kind.value, fault.input_name) for fault in judged.faults if fault.refused]


SIZED = {"required": {"how": ["COMFY_DYNAMICCOMBO_V3", {"options": [
    {"key": "size", "inputs": {"required": {"width": ["INT", {"min": 1, "max": 9}]}}},
    {"key": "none", "inputs": {"required": {}}},
]}]}}  # fmt: skip
GROWN = {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {
    "input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "image", "min": 1, "max": 3}}]}}  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "held", "refused"),
    [
        (SIZED, {"how": "size", "how.width": 5}, []),
        (SIZED, {"how": "size"}, [("missing", "how.width")]),
        (SIZED, {"how": "size", "how.width": 10}, [("value", "how.width")]),
        (SIZED, {"how": "none"}, []),
        (SIZED, {"how": "nobody"}, []),  # the server takes it, as recorded from 0.33
        (GROWN, {}, [("missing", "images.image0")]),
        (GROWN, {"images.image0": ["9", 0]}, [("link", "images.image0")]),
        ({"required": {"n": ["INT", {"min": 0}]}}, {"n": "16"}, []),
        ({"required": {"n": ["INT", {"min": 0}]}}, {"n": None}, [("value", "n")]),
        ({"required": {"n": ["COMBO", {"options": ["a"]}]}}, {"n": {"__value__": "a"}}, []),
        ({"required": {"n": ["STRING", {}]}}, {"n": None}, []),
        ({"required": "odd", "optional": {"x": []}}, {}, []),
    ],
)
def test_inputs_that_depend_on_others(inputs: Any, held: Any, refused: Any) -> None:
    """They are spread out as the server does it."""
    assert _node(inputs, held) == refused


def test_what_a_custom_node_may_check_by_itself_is_not_certain() -> None:
    """Its list is told, and outputs count as good."""
    info = {"input": {"required": {"mode": [["a", "b"]]}}, "output": [], "output_node": True}
    classes = {"X": NodeClass("X", {**info, "python_module": "custom_nodes.pack"})}
    judged = judge({"1": {"class_type": "X", "inputs": {"mode": "c"}}}, classes)
    assert [fault.certain for fault in judged.faults] == [False]
    assert judged.good_outputs == ("1",)


def test_model_files_are_told_apart() -> None:
    """A file that a loader does not list is a model, a word that a sampler does not list is a value."""
    assert Input.of("ckpt_name", [["a.safetensors"]], required=True).is_model("b.ckpt")
    assert Input.of("ckpt_name", [[]], required=True).is_model("b.safetensors")
    assert not Input.of("sampler_name", [["euler"]], required=True).is_model("eulr")
    graph = {"1": {"class_type": "L", "inputs": {"ckpt_name": "b.ckpt"}}}
    info = {"input": {"required": {"ckpt_name": [["a.ckpt"]]}}, "output": [], "output_node": True}
    judged = judge(graph, {"L": NodeClass("L", info)})
    assert [(fault.kind, fault.remedy) for fault in judged.faults] == [(FaultKind.MODEL, "The nearest is a.ckpt.")]


def test_versions_compare_as_numbers() -> None:
    """0.3.64 is older than 0.33.0; what is no version counts as new."""
    assert version_of("0.3.64") < version_of("v0.33.0")
    assert [checks_newer_choices(text) for text in ("0.3.64", "0.33.0", None, "nightly")] == [False, True, True, True]


@pytest.mark.parametrize(
    ("given", "wanted", "good"),
    [("IMAGE", "IMAGE", True), ("A,B", "B, C", True), ("IMAGE", "*", True), ("IMAGE", "MASK", False),
     ("COMFY_MATCHTYPE_V3", "MASK", True)],
)  # fmt: skip
def test_types_of_links(given: str, wanted: str, good: bool) -> None:
    """As the server compares them."""
    assert fits(given, wanted) is good

"""Workflows: what is taken, what is refused and in which words, and what a graph tells of its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from tests.core.comfyui.recorded import RECORDINGS
from tests.core.comfyui.test_messages import JSON

from comfysoak_core.comfyui.expected import (
    ExpectedFiles,
    expected_outputs,
    files_expected,
    sampled_outputs,
    size_inputs,
)
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import ScenarioError
from comfysoak_core.outputs.expected import Expected

TINY: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 2, "color": 0}}
}


def _graph(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {name[1:]: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def _told(text: str) -> ScenarioError:
    with pytest.raises(ScenarioError) as caught:
        Workflow.from_text(text, where="a.json")
    return caught.value


def test_a_workflow_from_a_file(tmp_path: Path) -> None:
    """A file in API format is taken, with a byte order mark too; it is called by its file name."""
    path = tmp_path / "sdxl.json"
    path.write_text("\ufeff" + json.dumps(TINY), encoding="utf-8")
    workflow = Workflow.load(path)
    assert (workflow.name, workflow.graph, workflow.classes) == ("sdxl", TINY, {"1": "EmptyImage"})
    assert workflow.size_bytes == len(json.dumps(TINY, separators=(",", ":")))


def test_a_whole_request_body_will_do() -> None:
    """People save what their client sends; the graph in it is the workflow."""
    assert Workflow.from_text(json.dumps({"prompt": TINY, "client_id": "c"})).graph == TINY


def test_the_editors_own_format_is_refused_with_the_menu_entry() -> None:
    """What File > Save writes is told by name, with the entry that saves the right format."""
    editor = {"id": "x", "nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4}
    error = _told(json.dumps(editor))
    assert "editor's own format" in str(error)
    assert "File > Export (API)" in str(error)
    assert error.exit_code == 2


def test_broken_json_is_told_with_line_and_column() -> None:
    """The place of the mistake can be opened."""
    assert str(_told('{"1": {\n  "class_type": oops}}')).startswith("a.json:2:17: broken JSON")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "got a list"),
        (3, "got a number"),
        (None, "got null"),
        ({}, "has no nodes"),
        ({"a": 1, "b": 2}, "found no node (keys: a, b)"),
        ({**TINY, "2": []}, "a.json: node 2: expected an object"),
        ({**TINY, "2": {"inputs": {}}}, "a.json: node 2: the node has no class_type"),
        ({**TINY, "2": {"class_type": "X"}}, "has no `inputs`; ComfyUI accepts that, and its worker thread may die"),
        ({**TINY, "2": {"class_type": "X", "inputs": []}}, "`inputs` should be an object; it is a list"),
        ({**TINY, "10": {"class_type": "X", "inputs": {"image": ["11", 0]}}}, "takes from node 11, which is not there"),
    ],
)
def test_what_is_no_graph_is_refused(document: object, words: str) -> None:
    """Each mistake is told with what was expected and what came."""
    assert words in str(_told(json.dumps(document)))


def test_all_mistakes_are_told_at_once() -> None:
    """Two bad nodes are two problems, each with a remedy."""
    error = _told(json.dumps({**TINY, "2": {"inputs": {}}, "3": {"class_type": "X", "inputs": {"a": ["9", 0]}}}))
    assert [problem.where for problem in error.problems] == ["a.json: node 2", "a.json: node 3"]
    assert all(problem.remedy for problem in error.problems)


def test_numbers_json_does_not_have_are_refused() -> None:
    """NaN cannot be sent."""
    assert "NaN" in str(_told('{"1": {"class_type": "X", "inputs": {"a": NaN}}}'))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a folder, no text: one clear error each."""
    picture = tmp_path / "p.png"
    picture.write_bytes(b"\x89PNG\xff\xfe")
    for path, words in ((tmp_path / "no.json", "No such file"), (tmp_path, "Is a directory"), (picture, "no text")):
        with pytest.raises(ScenarioError, match=words):
            Workflow.load(path)


@given(JSON)
def test_no_document_breaks_it(document: Any) -> None:
    """Whatever JSON a file holds, it is a workflow or a ScenarioError."""
    try:
        workflow = Workflow.from_graph(document)
    except ScenarioError:
        return
    assert workflow.shape.classes


def test_the_shape_tells_inputs_work_and_outputs_apart() -> None:
    """Loaders and empty latents are inputs, savers are outputs, the rest an output needs is work."""
    shape = GraphShape.of(
        _graph(
            n1=("CheckpointLoaderSimple", {}),
            n2=("EmptyLatentImage", {}),
            n3=("CLIPTextEncode", {"clip": ["1", 1]}),
            n4=("KSampler", {"model": ["1", 0], "latent_image": ["2", 0], "positive": ["3", 0]}),
            n5=("VAEDecode", {"samples": ["4", 0], "vae": ["1", 2]}),
            n6=("SaveImage", {"images": ["5", 0]}),
            n7=("ImageInvert", {"image": ["5", 0]}),
        )
    )
    assert shape.outputs == {"6"}
    assert shape.working == {"3", "4", "5"}
    assert [shape.origin(node_id) for node_id in ("4", "4.0.0.1", "9", "9.1")] == ["4", "4", None, None]


def test_a_graph_of_inputs_and_outputs_works_in_its_outputs() -> None:
    """Where nothing else works, saving is the work; where nothing saves, the last nodes are the outputs."""
    shape = GraphShape.of(_graph(n1=("LoadImage", {}), n2=("SaveImage", {"images": ["1", 0]})))
    assert shape.working == {"2"}
    assert GraphShape.of(_graph(n1=("A", {}), n2=("MyOwnSink", {"x": ["1", 0]}))).outputs == {"2"}


LATENT = ("EmptyLatentImage", {"width": 520, "height": 390, "batch_size": 3})


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (_graph(n1=LATENT, n2=("VAEDecode", {"samples": ["1", 0]})), (3, 520, 384)),
        (
            _graph(n1=LATENT, n3=("KSampler", {"latent_image": ["1", 0]}), n2=("VAEDecode", {"samples": ["3", 0]})),
            (3, 520, 384),
        ),
        (_graph(n2=("EmptyImage", {"width": 65, "height": 7, "batch_size": 1})), (1, 65, 7)),
        (_graph(n1=("LoadImage", {}), n2=("ImageScale", {"image": ["1", 0], "width": 9, "height": 8})), (None, 9, 8)),
        (
            _graph(
                n1=("EmptyImage", {"width": 100, "height": 50, "batch_size": 1}),
                n2=("ImageScale", {"image": ["1", 0], "width": 0, "height": 25}),
            ),
            (1, 50, 25),
        ),
        (
            _graph(
                n1=("EmptyImage", {"width": 100, "height": 50, "batch_size": 2}),
                n2=("ImageScaleBy", {"image": ["1", 0], "scale_by": 1.5}),
            ),
            (2, 150, 75),
        ),
        (
            _graph(
                n1=("EmptyImage", {"width": 10, "height": 10, "batch_size": 2}),
                n2=("RepeatImageBatch", {"image": ["1", 0], "amount": 3}),
            ),
            (6, 10, 10),
        ),
        (
            _graph(
                n1=("PrimitiveInt", {"value": 32}),
                n2=("EmptyImage", {"width": ["1", 0], "height": 16, "batch_size": 1}),
            ),
            (1, 32, 16),
        ),
        (_graph(n1=("HisOwnNode", {}), n2=("ImageInvert", {"image": ["1", 0]})), (None, None, None)),
        (_graph(n2=("ImageInvert", {"image": ["2", 0]})), (None, None, None)),  # a circle
    ],
)
def test_what_a_graph_will_save(graph: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    """Count and size are followed from the empty latent to the saved file; what is not known is None."""
    graph["9"] = {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}
    found = expected_outputs(graph)
    assert found == {"9": ExpectedFiles(expected[0], Expected(width=expected[1], height=expected[2]))}
    assert files_expected(found) == expected[0]


@pytest.mark.parametrize(("side", "expected"), [(96, 96), (100, None), (750, None)])
def test_a_vae_cuts_off_what_fills_no_cell(side: int, expected: int | None) -> None:
    """Of a picture that is no whole number of cells the size is not known after encoding: 100 becomes 96 or 64."""
    graph = _graph(
        n1=("EmptyImage", {"width": side, "height": 64, "batch_size": 1}),
        n2=("VAEEncode", {"pixels": ["1", 0], "vae": ["5", 0]}),
        n3=("VAEDecode", {"samples": ["2", 0], "vae": ["5", 0]}),
        n4=("SaveImage", {"images": ["3", 0]}),
        n5=("VAELoader", {"vae_name": "v"}),
    )
    assert expected_outputs(graph)["4"].each.width == expected


def test_which_outputs_a_sampler_made() -> None:
    """What is put out beside it, a mask or a blank picture, may be of one colour."""
    graph = _graph(
        n1=("EmptyImage", {"width": 64, "height": 64, "batch_size": 1}),
        n2=("PreviewImage", {"images": ["1", 0]}),
        n3=("KSamplerSelect", {"sampler_name": "euler"}),
        n4=("SamplerCustomAdvanced", {"sampler": ["3", 0], "latent_image": ["6", 0]}),
        n5=("SaveLatent", {"samples": ["4", 0]}),
        n6=("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    )
    assert sampled_outputs(graph) == {"5"}
    assert sampled_outputs(TINY) == frozenset()


def test_what_the_expectation_rests_on() -> None:
    """Only inputs that were read can change it."""
    graph = {**TINY, "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}
    assert size_inputs(graph) == {("9", "images"), ("1", "width"), ("1", "height"), ("1", "batch_size")}


def test_the_recorded_workflows() -> None:
    """Those a server runs are taken; those that break it are refused before they do."""
    refused = set()
    for path in sorted((RECORDINGS / "workflows").glob("*.json")):
        try:
            Workflow.load(path)
        except ScenarioError:
            refused.add(path.stem)
    assert refused == {"03j_validation_no_class_type", "dangling_link_in_one_output", "worker_dies"}

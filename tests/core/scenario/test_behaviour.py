"""What a scenario says of its users: cancels, give-ups, mistakes, batches, uploads, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfysoak_core.comfyui.mistakes import KINDS
from comfysoak_core.comfyui.variation import warnings_for
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from comfysoak_core.scenario.workload import Cancel, GiveUp, Mistakes, Upload, Workload

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "3": {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "a"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a workflow and two pictures."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    (tmp_path / "pictures").mkdir()
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / "pictures" / name).write_bytes(b"content")
    return tmp_path


def resolved(folder: Path, graph: dict[str, Any] | None = None, **keys: Any) -> Workload:
    """The workload that has these keys, after a turn through JSON."""
    if graph is not None:
        (folder / "w.json").write_text(json.dumps(graph))
    scenario = {
        "target": {"comfyui": "http://a:1"},
        "workload": [{"workflow": "w.json", "deadline": "60s", **keys}],
        "load": [{"users": 1, "for": "1s"}],
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(scenario))
    plan = resolve(*read_scenario(folder / "s.yaml"))
    return Plan.model_validate(plan.model_dump(mode="json")).workloads[0]


def test_all_of_it_is_understood(folder: Path) -> None:
    """As written, with units, short forms and defaults."""
    found = resolved(
        folder,
        front="10%",
        cancel={"share": "10%", "after": "1s..5s"},
        give_up={"after": "30s", "again": 2, "withdraw": True},
        mistakes="5%",
        upload={"input": "2.image", "files": "pictures", "each": "prompt"},
        batch=[1, 2, 4],
    )
    pictures = (folder / "pictures").resolve()
    assert found.front == 0.1
    assert found.cancel == Cancel(share=0.1, after_s=(1, 5), within_s=60)
    assert found.give_up == GiveUp(after_s=(30, 30), again=2, withdraw=True, within_s=60)
    assert found.mistakes == Mistakes(share=0.05)
    assert found.uploads == (
        Upload(input="2.image", files=(str(pictures / "a.JPG"), str(pictures / "b.png")), each="prompt"),
    )
    assert (found.vary.batch, found.vary.batch_input) == ((1, 2, 4), None)


def test_front_may_be_said_of_all(folder: Path) -> None:
    """`true` is a share of one."""
    assert resolved(folder, front=True).front == 1.0
    assert resolved(folder, front=False).front == 0.0


def test_the_input_of_a_batch_may_be_named(folder: Path) -> None:
    """Where no node is known to make one."""
    found = resolved(folder, batch={"input": "1.color", "sizes": [3]})
    assert (found.vary.batch, found.vary.batch_input) == ((3,), "1.color")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"cancel": {"share": "10%", "after": "70s"}}, "cancel.after must be shorter than the deadline of 60 s"),
        ({"cancel": {"share": 0, "after": "1s"}}, "greater than 0"),
        ({"cancel": "10%"}, "expected keys with values"),
        ({"give_up": {"after": "60s"}}, "give_up.after must be shorter"),
        ({"mistakes": {"share": "5%", "kinds": ["typo"]}}, "there is no mistake 'typo'; there are: missing-input"),
        ({"mistakes": {"share": "5%", "kinds": ["wrong-link"]}}, "no place for the mistake wrong-link"),
        ({"mistakes": "5%", "expect": "rejected"}, "mistakes are for prompts that would succeed"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"batch": {"input": "9.x", "sizes": [1]}}, "9.x names no input"),
        ({"front": "often"}, "a share"),
        ({"upload": {"input": "2.picture"}}, "2.picture names no input"),
        ({"upload": {"input": "4.images"}}, "takes its value from another node"),
        ({"upload": {"input": "2.image", "files": "none.png"}}, "there is no picture"),
        ({"upload": {"input": "2.image", "files": "."}}, "there is no picture in"),
        ({"upload": {"input": "2.image", "files": "pictures", "size": "8x8"}}, "files or size, not both"),
        ({"upload": {"input": "2.image", "size": "0x8"}}, "pixels"),
        ({"upload": {"input": "2.image", "each": "day"}}, "'once' or 'prompt'"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, keys: dict[str, Any], said: str) -> None:
    """With the line, and no traceback."""
    with pytest.raises(ScenarioError) as told:
        resolved(folder, **keys)
    text = " ".join(str(problem) for problem in told.value.problems)
    assert said in text
    assert "s.yaml:" in text


def test_without_a_node_that_makes_a_batch_it_has_to_be_named(folder: Path) -> None:
    """The remedy shows how."""
    graph = {key: GRAPH[key] for key in ("2",)} | {
        "4": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}}
    }
    with pytest.raises(ScenarioError, match="no node of the workflow makes a batch") as told:
        resolved(folder, graph, batch=2)
    assert "batch: {input: " in told.value.problems[0].remedy


def test_a_workflow_that_is_to_be_refused_may_be_wrong(folder: Path) -> None:
    """Links to nothing, and nothing at all, are for the server to refuse; what kills its worker is refused here."""
    astray = {**GRAPH, "4": {"class_type": "SaveImage", "inputs": {"images": ["77", 0], "filename_prefix": "a"}}}
    assert resolved(folder, astray, expect="rejected").graph == astray
    assert resolved(folder, {}, expect="rejected").graph == {}
    with pytest.raises(ScenarioError, match="node 77, which is not there"):
        resolved(folder, astray)
    with pytest.raises(ScenarioError, match="its worker thread may die"):
        resolved(folder, {**GRAPH, "5": {"class_type": "SaveImage"}}, expect="rejected")
    with pytest.raises(ScenarioError, match="no class_type") as told:
        resolved(folder, {**GRAPH, "5": {"inputs": {}}}, expect="rejected")
    assert "kinds: [no-class-type]" in told.value.problems[0].remedy


def test_pictures_that_change_are_variation_enough(folder: Path) -> None:
    """No warning that every prompt would come from the cache."""
    workload = resolved(folder, upload={"input": "2.image", "each": "prompt"})
    assert warnings_for(workload) != ()
    assert warnings_for(workload, ["2.image"]) == ()


def test_the_example_in_the_documentation_works(tmp_path: Path) -> None:
    """It is read as it stands there, beside the workflows it names."""
    root = Path(__file__).parents[3]
    section = (root / "docs" / "scenario.md").read_text(encoding="utf-8").partition("## What users really do")[2]
    (tmp_path / "people.yaml").write_text(section.split("```")[1].removeprefix("yaml"))
    (tmp_path / "workflows").symlink_to(root / "scenarios" / "workflows")
    people, picture = resolve(*read_scenario(tmp_path / "people.yaml")).workloads
    assert people.mistakes is not None
    assert people.cancel is not None
    assert people.give_up is not None
    assert picture.uploads[0].size == (1024, 1024)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mistake_is_in_the_documentation(kind: str) -> None:
    """Whoever names one finds it there."""
    text = (Path(__file__).parents[3] / "docs" / "scenario.md").read_text(encoding="utf-8")
    assert f"`{kind}`" in text

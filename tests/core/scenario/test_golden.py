"""`canary` and `fetch`, from the scenario to the plan."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from PIL import Image

from comfysoak_core.errors import ScenarioError
from comfysoak_core.outputs.kinds import OutputKind
from comfysoak_core.scenario.canary import BUILT_IN, Canary, folder_of
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from comfysoak_core.scenario.workload import Fetch

GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}


def plan_of(folder: Path, text: str = "", fetch: str = "true", target: str = "{comfyui: http://a:1}") -> Plan:
    (folder / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    path = folder / "soak.yaml"
    workload = f"workload: [{{workflow: w.json, fetch: {fetch}}}]\nload: [{{users: 1, for: 10s}}]\n"
    path.write_text(f"target: {target}\n{workload}{text}\n", encoding="utf-8")
    return resolve(*read_scenario(path))


@pytest.mark.parametrize(
    ("written", "fetch"),
    [
        ("true", Fetch()),
        ("false", Fetch(share=0)),
        ("10%", Fetch(share=0.1)),
        ("0.5", Fetch(share=0.5)),
        ("[images, video]", Fetch(kinds=(OutputKind.IMAGES, OutputKind.VIDEO))),
        ("{kinds: [3d], share: 1%}", Fetch(share=0.01, kinds=(OutputKind.MODELS_3D,))),
    ],
)
def test_what_is_fetched_is_written_in_short(tmp_path: Path, written: str, fetch: Fetch) -> None:
    """Yes or no, a share of the prompts, a list of kinds, or both."""
    assert plan_of(tmp_path, fetch=written).workloads[0].fetch == fetch


@pytest.mark.parametrize("written", ["[pictures]", "120%", "sometimes", "[]"])
def test_what_cannot_be_fetched_is_told(tmp_path: Path, written: str) -> None:
    """A kind there is none of, or no share, is a mistake with an example."""
    with pytest.raises(ScenarioError, match=r"fetch|share"):
        plan_of(tmp_path, fetch=written)


def test_a_canary_in_few_words(tmp_path: Path) -> None:
    """Without a workflow it is the built-in one; its deadline is its interval."""
    assert plan_of(tmp_path).canary is None
    assert plan_of(tmp_path, "canary: {every: 2m}").canary == Canary(graph=BUILT_IN, every_s=120, deadline_s=120)
    written = "canary: {workflow: w.json, every: 1h, deadline: 5m, tolerance: 4, differing: 0.1%}"
    assert plan_of(tmp_path, written).canary == Canary(
        name="w", graph=GRAPH, every_s=3600, deadline_s=300, tolerance=4, differing=0.001
    )


def test_baselines_are_read_into_the_plan(tmp_path: Path) -> None:
    """One file stands for all servers; the folder of an earlier run knows which is of which."""
    folder = tmp_path / "canary" / folder_of("http://gpu-1:8188/x")
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "baseline-6-1.png")
    Image.new("RGB", (4, 4)).save(folder / "0f-6-1.png")
    whole = plan_of(tmp_path, "canary: {baseline: canary}").canary
    assert whole is not None
    assert [(picture.server, picture.place) for picture in whole.baseline] == [("gpu-1-8188-x", "6-1")]
    one = plan_of(tmp_path, f"canary: {{baseline: canary/{folder.name}/baseline-6-1.png}}").canary
    assert one is not None
    assert [(picture.server, picture.place) for picture in one.baseline] == [(None, None)]
    assert base64.b64decode(one.baseline[0].png) == (folder / "baseline-6-1.png").read_bytes()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("canary: {baseline: nowhere.png}", "cannot be read"),
        ("canary: {baseline: w.json}", "is no picture"),
        ("canary: {baseline: .}", "holds no baseline-"),
        ("canary: {workflow: nowhere.json}", "cannot read the workflow"),
        ("canary: {workflow: latent.json}", "gives no picture"),
        ("canary: {every: 0s}", "greater than or equal to 1"),
        ("canary: {tolerance: 300}", "less than or equal to 254"),
    ],
)
def test_a_canary_that_cannot_be_is_told_before_the_start(tmp_path: Path, written: str, said: str) -> None:
    """Each mistake has its place and what to do."""
    latent = {"1": {"class_type": "SaveLatent", "inputs": {}}}
    (tmp_path / "latent.json").write_text(json.dumps(latent), encoding="utf-8")
    with pytest.raises(ScenarioError, match=said) as raised:
        plan_of(tmp_path, written)
    assert "soak.yaml:4" in str(raised.value)


def test_a_canary_goes_to_servers_and_not_through_a_gateway(tmp_path: Path) -> None:
    """What a gateway makes of a graph is not known."""
    path = tmp_path / "soak.yaml"
    path.write_text(
        "target: {gateway: {url: http://g:1}}\nworkload: [{prompt: [a]}]\nload: [{users: 1, for: 1s}]\ncanary: {}\n",
        encoding="utf-8",
    )
    with pytest.raises(ScenarioError, match="a canary runs on the ComfyUI behind the gateway"):
        resolve(*read_scenario(path))

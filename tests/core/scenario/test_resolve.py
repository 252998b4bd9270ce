"""From a scenario to a plan: files and variables are read in, mistakes in them are told with their place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfysoak_core.comfyui.vary import Range
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve

ROOT = Path(__file__).parents[3]
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "positive": ["6", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "x"}},
}
SCENARIO = """\
target: {target}
workload:
  - {{workflow: w.json, vary: {vary}}}
load:
  - {{users: {{from: 2, to: 10}}, for: 10s, phase: warmup}}
  - {{users: 10, for: 30s}}
"""


def plan_of(folder: Path, vary: str = "{}", target: str = "{comfyui: http://a:1}", **files: str) -> Plan:
    (folder / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    path = folder / "soak.yaml"
    path.write_text(SCENARIO.format(vary=vary, target=target), encoding="utf-8")
    return resolve(*read_scenario(path))


def wrong(folder: Path, vary: str = "{}", target: str = "{comfyui: http://a:1}", **files: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        plan_of(folder, vary, target, **files)
    return str(caught.value)


def test_everything_named_is_read_in(tmp_path: Path) -> None:
    """The plan holds workflow, prompts, ranges and mapping, and needs no file any more."""
    plan = plan_of(
        tmp_path,
        "{prompt: prompts.txt, inputs: {3.steps: {from: 10, to: 30}},"
        ' nodes: [{type: seed, key: seed, node_ids: ["3"]}]}',
        prompts="a dog\n# a comment\n\n  a bird \n",
    )
    (workload,) = plan.workloads
    assert plan.name == "soak"
    assert workload.name == "w"
    assert workload.graph == GRAPH
    assert workload.vary.prompts == ("a dog", "a bird")
    assert workload.vary.inputs == {"3.steps": Range(10, 30)}
    assert workload.vary.nodes[0].node_ids == ("3",)


def test_a_plan_survives_run_json(tmp_path: Path) -> None:
    """Written as JSON and read again it is the same plan."""
    plan = plan_of(tmp_path, "{inputs: {3.steps: [10, 20], 5.width: {from: 64, to: 512}}}")
    assert Plan.model_validate(json.loads(plan.model_dump_json())) == plan


def test_stages_ramp_and_hold(tmp_path: Path) -> None:
    """Users follow a straight line within a stage."""
    plan = plan_of(tmp_path)
    assert (plan.duration_s, plan.users_most, plan.sockets_most) == (40, 10, 10)
    assert (plan.stages[0].phase, plan.stages[0].users_at(5)) == ("warmup", 6)


def test_open_load(tmp_path: Path) -> None:
    """Arrivals have a rate in prompts a second and sockets to be sent by; users leave meanwhile."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    path = tmp_path / "open.yaml"
    closed = "load:\n  - {users: 3, for: 5s}\n"
    stages = closed + "  - {arrivals: {from: 6/min, to: 2/s}, process: constant, in_flight_most: 40, for: 1m}\n"
    text = SCENARIO.format(vary="{}", target="{comfyui: http://a:1}")
    path.write_text(text.split("\nload:\n")[0] + "\n" + stages, encoding="utf-8")
    plan = resolve(*read_scenario(path))
    arrivals = plan.stages[1].arrivals
    assert arrivals is not None
    assert arrivals.rate_per_s == Line(start=0.1, end=2.0)
    assert (arrivals.process, plan.stages[1].users_at(30)) == ("constant", 0)
    assert (plan.users_most, plan.sockets_most) == (3, 40)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("{for: 5s}", "expected one of `users: 8`"),
        ("{users: 3, arrivals: 1/s, for: 5s}", "expected one of `users: 8`"),
        ("{users: 3, process: poisson, for: 5s}", "'process' only beside arrivals"),
        ("{arrivals: often, for: 5s}", "expected a rate such as 2/s, 30/min or 100/h, got 'often'"),
        ("{arrivals: 20000/s, for: 5s}", "less than or equal to 10000"),
    ],
)
def test_mistakes_of_open_load(tmp_path: Path, stage: str, words: str) -> None:
    """A stage is closed or open load, and says how much."""
    path = tmp_path / "open.yaml"
    head = "target: {comfyui: http://a:1}\nworkload:\n  - {workflow: w.json}\nload:\n"
    path.write_text(f"{head}  - {stage}\n", encoding="utf-8")
    with pytest.raises(ScenarioError) as caught:
        read_scenario(path)
    assert words in str(caught.value)
    assert "open.yaml:5" in str(caught.value)


def test_a_plan_is_scaled(tmp_path: Path) -> None:
    """Stretched in time and in users it keeps its shape; nobody is rounded away."""
    plan = plan_of(tmp_path).with_duration(8).with_users(3)
    assert [stage.duration_s for stage in plan.stages] == [2, 6]
    assert [stage.users for stage in plan.stages] == [Line(start=1, end=3), Line.level(3)]


def test_the_platforms_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COMFYUI_BASE_URL, COMFYUI_WORKFLOW and COMFYUI_WORKFLOW_NODES are read as the platform reads them."""
    monkeypatch.setenv("COMFYUI_BASE_URL", "http://comfyui:8188/")
    monkeypatch.setenv("COMFYUI_WORKFLOW", json.dumps(GRAPH))
    monkeypatch.setenv("COMFYUI_WORKFLOW_NODES", '[{"type": "prompt", "key": "text", "node_ids": ["6"]}]')
    plan = resolve(*read_scenario(ROOT / "scenarios" / "platform.yaml"))
    assert plan.servers == ("http://comfyui:8188",)
    assert plan.workloads[0].graph == GRAPH
    assert plan.workloads[0].vary.nodes[0].type == "prompt"


def test_a_variable_that_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All variables that are missing are told at once."""
    for name in ("COMFYUI_BASE_URL", "COMFYUI_WORKFLOW", "COMFYUI_WORKFLOW_NODES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ScenarioError) as caught:
        resolve(*read_scenario(ROOT / "scenarios" / "platform.yaml"))
    for name in ("COMFYUI_BASE_URL", "COMFYUI_WORKFLOW", "COMFYUI_WORKFLOW_NODES"):
        assert f"{name} is not set" in str(caught.value)


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (ROOT / "scenarios").glob("*.yaml") if path.stem != "platform")
)
def test_supplied_scenarios_are_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scenario that comes along resolves."""
    monkeypatch.setenv("PLATFORM_URL", "http://platform:8080")
    monkeypatch.setenv("COMFYUI_BASE_URL", "http://comfyui:8188")
    plan = resolve(*read_scenario(ROOT / "scenarios" / name))
    assert plan.workloads


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ("{prompt: absent.txt}", "absent.txt cannot be read"),
        ("{prompt: empty.txt}", "holds no prompt"),
        ("{inputs: {3.setps: [1]}}", "3.steps"),
        ("{inputs: {33.steps: [1]}}", "33"),
        ("{nodes: {type: seed}}", "expected"),
        ("{nodes: empty.txt}", "not JSON"),
    ],
)
def test_mistakes_in_what_is_named(tmp_path: Path, vary: str, words: str) -> None:
    """What is wrong in a file or variation is told with the line of the scenario."""
    told = wrong(tmp_path, vary, empty="")
    assert words in told
    assert "soak.yaml:3" in told


def test_a_fault_with_a_wrong_key(tmp_path: Path) -> None:
    """Mistakes of the embedded target are told with their line like all others."""
    told = wrong(tmp_path, target="{embedded: {faults: [{kind: oom, att: 3s}]}}")
    assert "unknown key 'att'" in told
    assert "soak.yaml:1" in told


def test_two_workloads_of_one_name(tmp_path: Path) -> None:
    """Rows name their workload, so names must differ."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    path = tmp_path / "soak.yaml"
    text = SCENARIO.format(vary="{}", target="{comfyui: http://a:1}").replace(
        "\nload:", "\n  - {workflow: w.json}\nload:"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError, match="two workloads are called 'w'"):
        resolve(*read_scenario(path))

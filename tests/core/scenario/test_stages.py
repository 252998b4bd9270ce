"""Stages with settles and cold starts, from the words of a scenario to the plan, and how long they can take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.curve import Spike, Wave
from comfysoak_core.scenario.plan import LAST_PATIENCE_S, Plan
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from comfysoak_core.scenario.stage import ERRAND_GRACE_S, FREE_WITHIN_S, ColdStart, Settle

GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


def plan_of(folder: Path, *stages: str, more: str = "") -> Plan:
    (folder / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    lines = ["target: {comfyui: http://a:1}", "workload: [{workflow: w.json, deadline: 40s}]", more, "load:"]
    path = folder / "soak.yaml"
    path.write_text("\n".join([*lines, *(f"  - {stage}" for stage in stages)]) + "\n", encoding="utf-8")
    return resolve(*read_scenario(path))


@pytest.mark.parametrize(
    ("written", "settle"),
    [
        ("90m", Settle(every_s=5400, wait_s=30)),
        ("{every: 90m, wait: 1m}", Settle(every_s=5400, wait_s=60)),
        ("{every: 5s, wait: 0s}", Settle(every_s=5, wait_s=0)),
    ],
)
def test_a_settle(tmp_path: Path, written: str, settle: Settle) -> None:
    """A time says how often; beside it stands how long servers are left alone."""
    plan = plan_of(
        tmp_path, f"{{users: 3, for: 12h, settle: {written}}}", f"{{arrivals: 1/s, for: 1h, settle: {written}}}"
    )
    assert [stage.settle for stage in plan.stages] == [settle, settle]
    assert [stage.phase for stage in plan.stages] == ["load", "load"]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("wait", ColdStart()),
        ("{command: [docker, restart, comfy]}", ColdStart(command=("docker", "restart", "comfy"))),
        (
            "{command: systemctl restart comfyui, workload: w}",
            ColdStart(command="systemctl restart comfyui", workload="w"),
        ),
    ],
)
def test_a_cold_start(tmp_path: Path, written: str, what: ColdStart) -> None:
    """It has no load, a phase of its own, and a limit that is no part of the planned time."""
    plan = plan_of(tmp_path, f"{{cold_start: {written}, for: 10m}}", "{users: 3, for: 1m}")
    first = plan.stages[0]
    assert (first.cold_start, first.phase, first.duration_s, first.users_at(1)) == (what, "cold start", 600, 0)
    assert plan.duration_s == 60


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("{users: 3, cold_start: wait, for: 5s}", "expected one of `users: 8`"),
        ("{cold_start: wait, settle: 5s, for: 5s}", "expected a settle beside users or arrivals"),
        ("{cold_start: wait, phase: boot, for: 5s}", "expected 'phase' only beside load"),
        ("{cold_start: {command: []}, for: 5s}", "expected a command such as [docker, restart, comfy]"),
        ('{cold_start: {command: " "}, for: 5s}', "expected a command such as [docker, restart, comfy]"),
        ("{cold_start: {command: [a], workload: sdxl}, for: 5s}", "no workload is called 'sdxl'"),
        ("{cold_start: {comand: [a]}, for: 5s}", "Did you mean 'command'?"),
        ("{cold_start: now, for: 5s}", "For example: cold_start: {command: [docker, restart, comfy]}"),
        ("{users: 1, for: 5s, settle: often}", "often"),
        ("{users: 1, for: 5s, settle: 0s}", "greater than 0"),
    ],
)
def test_mistakes(tmp_path: Path, stage: str, words: str) -> None:
    """What is wrong is told with an example of what is right."""
    with pytest.raises(ScenarioError) as caught:
        plan_of(tmp_path, stage)
    assert words in str(caught.value)
    assert "soak.yaml:5" in str(caught.value)


def test_a_shorter_run_keeps_its_shape(tmp_path: Path) -> None:
    """As many waves, spikes and settles as before; a cold start takes as long as it takes."""
    plan = plan_of(
        tmp_path,
        "{cold_start: wait, for: 10m}",
        "{users: {low: 2, high: 8, wave: 1h}, for: 3h, settle: {every: 30m, wait: 20s}}",
        "{arrivals: {base: 1/s, spike: 5/s, lasts: 1m, every: 10m}, for: 1h}",
    ).with_duration(240)
    cold, wave, spikes = plan.stages
    assert (cold.duration_s, wave.duration_s, spikes.duration_s) == (600, 180, 60)
    assert wave.users == Wave(low=2, high=8, period_s=60)
    assert wave.settle == Settle(every_s=30, wait_s=20)
    assert spikes.arrivals is not None
    assert spikes.arrivals.rate_per_s == Spike(base=1, top=5, every_s=10, lasts_s=1)
    assert plan_of(tmp_path, "{cold_start: wait, for: 10m}").with_duration(60).duration_s == 0


def test_how_long_it_can_take(tmp_path: Path) -> None:
    """Each settle and cold start with all its patience; never longer than the longest duration and a last grace."""
    stages = ("{cold_start: wait, for: 10m}", "{users: 1, for: 100s, settle: {every: 50s, wait: 5s}}")
    cold_s = 40 + 600 + ERRAND_GRACE_S
    settled_s = 100 + 2 * (40 + FREE_WITHIN_S + 5 + ERRAND_GRACE_S)
    assert plan_of(tmp_path, *stages).longest_s == cold_s + settled_s + 40
    limited = plan_of(tmp_path, *stages, more="max_duration: 2m")
    assert limited.max_duration_s == 120
    assert limited.longest_s == 120 + LAST_PATIENCE_S


def test_the_example_of_the_documentation_is_right(tmp_path: Path) -> None:
    """What stands under Shapes can be copied."""
    text = (Path(__file__).parents[3] / "docs" / "scenario.md").read_text(encoding="utf-8")
    example = text.split("## Shapes")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    path = tmp_path / "soak.yaml"
    path.write_text(f"target: {{comfyui: http://a:1}}\nworkload: [{{workflow: w.json}}]\n{example}", encoding="utf-8")
    plan = resolve(*read_scenario(path))
    assert (len(plan.stages), plan.max_duration_s, plan.starts_cold) == (4, 4 * 86_400, True)


def test_a_search_keeps_to_the_users_of_the_call_and_takes_its_time(tmp_path: Path) -> None:
    """`--users` holds for its levels too; `--duration` is shared by the stages that can be stretched."""
    stages = ("{users: 8, for: 100s}", "{search: {users: {from: 4, to: 64}, hold: 1m}, for: 1h}")
    plan = plan_of(tmp_path, *stages).with_users(16).with_duration(50)
    search = plan.stages[1].search
    assert search is not None
    assert (search.low, search.high, plan.users_most) == (1, 16, 16)
    assert [stage.duration_s for stage in plan.stages] == [50, 3600]

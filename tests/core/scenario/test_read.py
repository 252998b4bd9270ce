"""Scenario files: right ones are read, of wrong ones every mistake is told with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfysoak_core.errors import ExitCode, ScenarioError
from comfysoak_core.scenario.read import apply_setting, read_scenario
from comfysoak_core.scenario.written.section import Users
from comfysoak_core.scenario.written.stages import Levels

GOOD = """\
name: soak
target: {comfyui: http://gpu-1:8188/}
workload:
  - {workflow: a.json, weight: 3, deadline: 3m, think: 1s..3s,
     vary: {seed: 7, inputs: {3.steps: [20, 30], "4.cfg": {from: 1, to: 8}}}}
load:
  - {users: 1, for: 2m, phase: warmup}
  - {users: {from: 1, to: 40}, for: 20m}
goals: ["prompts.failed < 1%"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "soak.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def users(start: int, end: int) -> Levels[Users]:
    return Levels[Users].model_validate({"from": start, "to": end})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        read_scenario(write(folder, text))
    assert caught.value.exit_code == ExitCode.WRONG_CALL
    return [
        f"{problem.where.rsplit(':', 1)[-1]}: {problem.what} | {problem.remedy}" for problem in caught.value.problems
    ]


def test_a_good_scenario_is_read(tmp_path: Path) -> None:
    """Short forms become what they mean."""
    scenario, _ = read_scenario(write(tmp_path, GOOD))
    assert scenario.target.comfyui == ("http://gpu-1:8188",)
    workload = scenario.workload[0]
    assert (workload.deadline, workload.think, workload.vary.seed) == (180.0, (1.0, 3.0), 7)
    assert workload.vary.inputs["3.steps"].values == (20, 30)
    assert (workload.vary.inputs["4.cfg"].low, workload.vary.inputs["4.cfg"].high) == (1.0, 8.0)
    assert [(stage.users, stage.duration, stage.phase) for stage in scenario.load] == [
        (users(1, 1), 120.0, "warmup"),
        (users(1, 40), 1200.0, "load"),
    ]


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Of a file with many mistakes none hides another."""
    told = problems(
        tmp_path,
        """\
target: {comfyui: gpu-1:8188}
workload:
  - {workflow: a.json, wieght: 3}
  - {workflow: b.json, deadline: 3 parsecs}
load:
  - {users: many, for: 3s}
  - {users: 3}
probes: {every: 1ms, gpu: [blah]}
goals: ["prompts.latncy.p95 < 3s"]
colour: red
""",
    )
    text = "\n".join(told)
    for expected in (
        "1: target.comfyui.0: expected an address such as http://gpu-1:8188, got 'gpu-1:8188'",
        "3: unknown key 'wieght' in workload.0 | Did you mean 'weight'?",
        "4: workload.1.deadline: expected a duration such as 90s, 12h or 1h30m, got '3 parsecs'",
        "6: load.0.users: expected keys with values, got 'many' | Closed load: a number, {from, to}, {from, to, steps}",
        "7: missing key 'for' in load.1 | How long it lasts; of a cold start: at most. For example: for: 20m",
        "8: probes.every: expected greater than or equal to 0.01, got 0.001",
        "8: probes.gpu.0: expected keys with values, got 'blah'",
        "9: goals.0: there is no measure 'prompts.latncy.p95'; did you mean 'prompts.latency.p95'?",
        "10: unknown key 'colour'",
    ):
        assert expected in text
    assert len(told) == 9


def test_a_key_of_another_fault_is_told_with_the_keys_of_this_one(tmp_path: Path) -> None:
    """Not with those of whichever fault comes first, which may well have it."""
    (told,) = problems(
        tmp_path,
        """\
name: x
target: {embedded: {faults: [{kind: oom, share: 5%}]}}
workload: [{workflow: a.json}]
load: [{users: 1, for: 1s}]
""",
    )
    assert "2: unknown key 'share' in target.embedded.faults.0 |" in told
    assert "Did you mean" not in told
    assert "keeps" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected keys such as name, target"),
        ("- a\n- b\n", "got list"),
        ("name: [", "this is not YAML"),
        ("name: a\nname: b\n", "'name' stands here a second time (first in line 1)"),
        ("name: x\n\tbad: tab", "this is not YAML"),
        (GOOD.replace("http://gpu-1", "http://user:secret@gpu-1"), "carries a user name or password"),
        (GOOD.replace("{comfyui: http://gpu-1:8188/}", "{}"), "expected one of `comfyui: http://gpu-1:8188`"),
        (GOOD.replace("seed: 7", "seed: sometimes"), "expected random, increment, fixed or a number, got 'sometimes'"),
        (GOOD.replace("{from: 1, to: 8}", "{from: 9, to: 8}"), "expected a list of values such as [20, 30]"),
        (GOOD.replace("1s..3s", "3s..1s"), "expected the shorter time first"),
        (GOOD.replace("\nload:", "\nload: []\nzzz:"), "expected a list with at least one item"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    """A file that is broken as a whole is refused in one clear sentence."""
    assert words in "\n".join(problems(tmp_path, text))


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    """The error about a secret does not show the secret."""
    assert "secret" not in "\n".join(problems(tmp_path, GOOD.replace("http://gpu-1", "http://user:secret@gpu-1")))


def test_a_missing_file_names_one_that_is_there(tmp_path: Path) -> None:
    """A scenario that is not there is refused with the name of one that is."""
    with pytest.raises(ScenarioError, match=r"there is no scenario .*absent.yaml"):
        read_scenario(tmp_path / "absent.yaml")


def test_settings_change_the_scenario(tmp_path: Path) -> None:
    """--set reaches any key, also one that is not in the file."""
    scenario, _ = read_scenario(
        write(tmp_path, GOOD), ["load.1.for=30s", "load.1.users.to=2", "sessions.watchers=5", "name=other"]
    )
    assert (scenario.load[1].duration, scenario.load[1].users) == (30.0, users(1, 2))
    assert (scenario.sessions.watchers, scenario.name) == (5, "other")


@pytest.mark.parametrize("setting", ["load.7.for=3s", "nonsense", "name.deeper=3", "load.x.for=3s", "=3"])
def test_settings_that_lead_nowhere(setting: str) -> None:
    """A setting whose path leads nowhere is refused with an example."""
    with pytest.raises(ScenarioError, match="--set"):
        apply_setting({"name": "x", "load": [{"for": "3s"}]}, setting)


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n" for before, key in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "more than 200,000 values once its aliases are written out"),
        ("name: x\nworkload: &w [*w]\n", "an alias holds itself"),
        ("name: " + "[" * 20_000 + "]" * 20_000, "nested more than 100 levels"),
        ("".join(" " * depth + "a:\n" for depth in range(400)), "nested more than 100 levels"),
    ],
    ids=["aliases of aliases", "an alias of itself", "brackets", "indentation"],
)
def test_yaml_beyond_all_bounds_is_a_mistake_of_the_file(tmp_path: Path, text: str, words: str) -> None:
    """YAML that stands for more than a machine can hold is refused before it is written out."""
    (told,) = problems(tmp_path, text)
    assert words in told


@pytest.mark.parametrize(
    "url",
    ["http://gpu-1:99999", "http://[::1", "http://gpu-1:8188/?token=abc", "http://gpu-1:8188/#a", "http://gpu 1:8188"],
)
def test_an_address_that_would_not_be_used_whole_is_refused(tmp_path: Path, url: str) -> None:
    """A target with a wrong port, a query or a space in it is a mistake of the scenario, told with an example."""
    told = problems(tmp_path, GOOD.replace("http://gpu-1:8188/", json.dumps(url)))
    assert any("such as http://gpu-1:8188" in line for line in told)

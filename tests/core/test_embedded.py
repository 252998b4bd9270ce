"""What a scenario may say about the embedded target, and what is told when it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_core.scenario.formula import parse_formula

WRITTEN = {
    "servers": 2,
    "gpu": {"memory": "24 GiB", "load_bandwidth": "2 GiB"},
    "models": {"checkpoints/a.safetensors": "2 GiB"},
    "costs": {"KSampler": {"steps": "{steps}", "seconds_per_step": "0.1 * {megapixels}", "vram": "1 GiB"}},
    "faults": [
        {"kind": "oom", "at": "20s", "node": "KSampler"},
        {"kind": "drop-sockets", "every": "1m", "share": "50%"},
        {"kind": "frozen", "at": "1h", "for": "5s"},
    ],
}


def test_what_is_written_survives_the_plan() -> None:
    """A target as people write it is the same after a round through JSON, as in run.json."""
    embedded = Embedded.model_validate(WRITTEN)
    assert Embedded.model_validate_json(embedded.model_dump_json()) == embedded
    assert embedded.faults[0].at == 20.0
    assert embedded.faults[2].lasting == 5.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"servers": 0}, "greater than or equal to 1"),
        ({"color": "red"}, "Extra inputs"),
        ({"costs": {"KSampler": {"seconds": "soon"}}}, "expected a duration such as 90s"),
        ({"costs": {"KSampler": {"seconds": "{steps} ** 2"}}}, "expected arithmetic such as"),
        ({"costs": {"KSampler": {"steps": "many"}}}, "expected a whole number or a formula"),
        ({"faults": [{"kind": "no-such"}]}, "does not match any of the expected tags"),
        ({"faults": [{"kind": "oom", "at": "soon"}]}, "expected a duration"),
        ({"models": {"../escape": 1}}, "expected `name` or `folder/name`"),
    ],
)
def test_each_mistake_is_told_once(change: dict[str, object], said: str) -> None:
    """One mistake gives one error, in words that say what was expected."""
    with pytest.raises(ValidationError) as caught:
        Embedded.model_validate({**WRITTEN, **change})
    (error,) = caught.value.errors()
    assert said in error["msg"]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("{steps}", 20.0),
        ("0.02 + 0.5 * {steps}", 10.02),
        ("-{steps} / 4", -5.0),
        ("max(min({steps}, 8) - 2, 0)", 6.0),
        ("({steps} + 2) * 2", 44.0),
        ("1 / {nothing}", 0.0),
    ],
)
def test_formulas_are_arithmetic(formula: str, value: float) -> None:
    """Inputs by name, four operations, min and max; a division by nothing is nothing."""
    assert parse_formula(formula)({"steps": 20.0, "nothing": 0.0}.__getitem__) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "{steps} ** 9", "__import__('os')", "steps", "{a}.real", "[{a}]", "{a} if {a} else 1", "sum(1, 2)", "{a" * 90,
     "(" * 150 + "1", "1e999", "True", "'x' + 'y'"],
)  # fmt: skip
def test_nothing_but_arithmetic_is_a_formula(text: str) -> None:
    """Whatever else somebody writes is refused with an example, and never run."""
    with pytest.raises(ValueError, match=r"formula of at most|such as"):
        parse_formula(text)


def test_files_it_names_are_read_in(tmp_path: Path) -> None:
    """Costs by YAML file and a dump of /object_info take the place of their paths."""
    (tmp_path / "costs.yaml").write_text('HarnessSleep: {seconds: "{seconds}"}\n')
    (tmp_path / "info.json").write_text(json.dumps({"A": {"input": {"required": {}}, "output": []}}))
    named = Embedded.model_validate({"costs": "costs.yaml", "object_info": "info.json"})
    read = named.with_files_read(tmp_path)
    assert isinstance(read.costs, dict)
    assert read.costs["HarnessSleep"].seconds == "{seconds}"
    assert isinstance(read.object_info, dict)
    assert Embedded.model_validate_json(read.model_dump_json()) == read


@pytest.mark.parametrize("content", ["{broken", "KSampler: {secondss: 1}", "KSampler: [1]", "- 1"])
def test_a_wrong_costs_file_is_named(tmp_path: Path, content: str) -> None:
    """The error says which file is wrong."""
    (tmp_path / "costs.yaml").write_text(content)
    with pytest.raises(ScenarioError, match=r"costs\.yaml"):
        Embedded.model_validate({"costs": "costs.yaml"}).with_files_read(tmp_path)


@pytest.mark.parametrize("content", ["{broken", "[]", '{"A": 1}', '{"A": {}}'])
def test_a_wrong_dump_is_named(tmp_path: Path, content: str) -> None:
    """The error says which file is wrong and how to make a right one."""
    (tmp_path / "info.json").write_text(content)
    with pytest.raises(ScenarioError, match=r"(?s)info\.json.*curl"):
        Embedded.model_validate({"object_info": "info.json"}).with_files_read(tmp_path)

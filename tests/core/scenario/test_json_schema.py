"""The JSON Schema of a scenario takes what the reader takes, and refuses what is plainly wrong."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from tests.core.scenario.json_schema_check import mistakes

from comfysoak_core.scenario.json_schema import scenario_json_schema
from comfysoak_core.scenario.model import Scenario

ROOT = Path(__file__).parents[3]
SCHEMA = scenario_json_schema()
KEYS = frozenset(SCHEMA["properties"])
LEAST = {
    "target": {"embedded": {"servers": 1}},
    "workload": [{"workflow": "a.json"}],
    "load": [{"users": 1, "for": "1m"}],
}


def written_in(page: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each YAML block of a page, and each scenario key with its value in running text; what is left out is added."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    running = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(rf"`((?:{'|'.join(KEYS)}): [{{\[][^`]*)`", running)
    for part in (*blocks, *(part for part in inline if "{...}" not in part)):
        value = yaml.safe_load(part)
        if "workload" not in value and "gateway" in value.get("target", {}):
            value = {"workload": [{"prompt": "a lighthouse"}], **value}
        yield part, LEAST | value


def scenarios() -> list[tuple[str, dict[str, Any]]]:
    files = [
        (path.name, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in (ROOT / "scenarios").glob("*.yaml")
    ]
    pages = [found for page in (ROOT / "README.md", ROOT / "docs" / "scenario.md") for found in written_in(page)]
    return files + pages


@pytest.mark.parametrize(("text", "scenario"), scenarios())
def test_what_we_show_is_right(text: str, scenario: dict[str, Any]) -> None:
    """Reader and schema take the scenarios there are, and all that the README and the documentation show."""
    Scenario.model_validate(scenario)
    assert list(mistakes(scenario, SCHEMA, SCHEMA)) == [], text


def test_there_is_much_to_look_at() -> None:
    """Both pages have scenarios in them, so that the test above is about something."""
    assert len(scenarios()) >= 20
    assert len(of_table()) >= 60


def places() -> list[tuple[str, dict[str, Any]]]:
    sections = {"Scenario": SCHEMA} | SCHEMA["$defs"]
    return [
        (f"{name}.{key}", schema)
        for name, section in sections.items()
        for key, schema in section.get("properties", {}).items()
    ]


@pytest.mark.parametrize(("place", "schema"), [(place, schema) for place, schema in places() if "examples" in schema])
def test_examples_are_right(place: str, schema: dict[str, Any]) -> None:
    """Each key takes its own examples."""
    for example in schema["examples"]:
        assert list(mistakes(example, schema, SCHEMA, place)) == []


def of_table() -> list[tuple[str, str]]:
    """The keys of the table of the documentation, the first of a row, and their examples."""
    table = (ROOT / "docs" / "scenario.md").read_text(encoding="utf-8").split("\n## ")[1]
    return re.findall(r"^\| `([^`]*)`.*\| `([^`|]*)` \|$", table, re.MULTILINE)


def at(key: str) -> list[dict[str, Any]]:
    """What the schema says of a key such as `load[].settle.every`, however many forms it has."""
    found = [SCHEMA]
    for part in key.split("."):
        found = [section["properties"][part.removesuffix("[]")] for section in sections_of(found)]
        if part.endswith("[]"):
            found = [rule["items"] for rule in found]
    return found


def sections_of(rules: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for rule in rules:
        if "properties" in rule:
            yield rule
        elif "$ref" in rule:
            yield from sections_of([SCHEMA["$defs"][rule["$ref"].rpartition("/")[2]]])
        else:
            yield from sections_of(rule.get("anyOf", []))


@pytest.mark.parametrize(("key", "example"), of_table())
def test_the_table_of_keys_is_right(key: str, example: str) -> None:
    """Each key of the table is one, and takes the example beside it."""
    rules = at(key)
    assert any(not list(mistakes(yaml.safe_load(example), rule, SCHEMA)) for rule in rules), rules


def test_no_name_of_pythons_is_left() -> None:
    """Bounds have the names that JSON Schema gives them, on texts with a unit as well."""
    every = dict(places())["ProbesSection.every"]
    assert (every["minimum"], every["maximum"]) == (0.01, 60)
    assert dict(places())["StageSection.for"]["anyOf"][0]["exclusiveMinimum"] == 0
    assert not re.search(r'"(ge|gt|le|lt)":', str(SCHEMA).replace("'", '"'))


SHORT = [
    ("load.0.users", 8),
    ("load.0.users", {"low": 2, "high": 40, "wave": "24h"}),
    ("load.0.users", {"base": 4, "spike": 40, "lasts": "30s", "every": "10m"}),
    ("load.0.for", "1h30m"),
    ("load.0.for", 90),
    ("load.0.for", "1.5 MIN"),
    ("load.0.settle", "90m"),
    ("load.0.settle", {"every": "90m", "wait": 0}),
    ("load.0", {"arrivals": "30/min", "for": "20m"}),
    ("load.0", {"arrivals": 0.5, "for": "20m", "process": "constant"}),
    ("load.0", {"arrivals": {"from": "1 / h", "to": "2/s", "steps": 4}, "for": "20m"}),
    ("load.0", {"trace": "trace.jsonl"}),
    ("load.0", {"cold_start": "wait", "for": "5m"}),
    ("load.0", {"cold_start": {"command": "docker restart comfy"}, "for": "5m"}),
    ("load.0", {"search": {"arrivals": {"from": "1/min", "to": "2/s"}, "within": "5%"}}),
    *(("workload.0.fetch", value) for value in (True, False, "10%", 0.5, ["images"], {"kinds": ["video"], "share": 1})),
    *(("workload.0.think", value) for value in ("1s..3s", "200ms .. 1s", "2s", 2, [1, 3])),
    *(("workload.0.batch", value) for value in (4, [1, 2, 4], {"input": "7.amount", "sizes": [1, 2]})),
    *(("workload.0.front", value) for value in (True, "5%", 0.05, "0.05", "100 %")),
    *(("workload.0.mistakes", value) for value in ("5%", {"share": "5%", "kinds": ["cycle"]})),
    *(("workload.0.vary.inputs", {"3.steps": value}) for value in (20, "a", [20, 30], {"from": 1, "to": 2}, None)),
    *(("workload.0.vary.seed", value) for value in ("increment", 42)),
    ("workload.0.upload", {"input": "1.image", "size": "64 x 64"}),
    ("workload.0.upload", [{"input": "1.image", "files": "a.png"}, {"input": "2.image", "files": ["b.png"]}]),
    ("probes.gpu", ["nvml", {"dcgm": "http://gpu-1:9400/metrics"}]),
    ("probes.gpu", [{"probe": "http://gpu-2:9410"}, {"probe": "http://gpu-3:9410", "token_variable": "TOKEN"}]),
    *(("probes.pause", value) for value in ("every 10m for 1m", {"every": "10m", "for": "1m"}, None)),
    ("target", {"comfyui": "http://gpu-1:8188/prefix"}),
    ("target", {"comfyui": ["http://gpu-1:8188", "$COMFYUI_BASE_URL"]}),
    ("target.embedded.gpu", {"memory": "24 gib", "load_bandwidth": 2_000_000_000}),
    ("target.embedded.models", {"checkpoints/a.safetensors": "6.5 GiB"}),
    ("target.embedded.faults", [{"kind": "leak", "size": "16 MiB", "every": "1m", "probability": "2%", "of": "ram"}]),
    ("target.embedded.costs", {"KSampler": {"steps": "{steps}", "seconds_per_step": "50ms", "vram": "2 GiB"}}),
    ("target.embedded.costs", "costs.yaml"),
]

WRONG = [
    ("nmae", "soak"),
    ("name", ""),
    ("load", []),
    ("load.0.users", "many"),
    ("load.0.users", {"from": 1}),
    ("load.0.users", -1),
    ("load.0.for", "90 parsecs"),
    ("load.0.for", "soon"),
    ("load.0.for", 0),
    ("load.0.arrivals", "30/min"),
    ("load.0", {"arrivals": "30 a minute", "for": "20m"}),
    ("load.0", {"users": 8}),
    ("load.0", {"for": "8m"}),
    ("load.0", {"cold_start": "now", "for": "8m"}),
    ("workload.0.fetch", ["pictures"]),
    ("workload.0.think", "1s-3s"),
    ("workload.0.batch", 0),
    ("workload.0.front", "150%"),
    ("workload.0.front", 5),
    ("workload.0.mistakes", {"kinds": ["cycle"]}),
    ("workload.0.mistakes", {"share": "5%", "kinds": ["typo"]}),
    ("workload.0.vary.inputs", {"3.steps": {"from": 1, "too": 2}}),
    ("workload.0.vary.seed", "randm"),
    ("workload.0.prompt", "a lighthouse"),
    ("probes.every", "fast"),
    ("probes.every", 3600),
    ("probes.gpu", "nvml"),
    ("probes.gpu", [{"probe": "gpu-2:9410"}]),
    ("probes.gpu", [{"probe": "http://gpu-2:9410", "token_variable": "a b"}]),
    ("probes.pause", 5),
    ("probes.pause", {"every": "10m"}),
    ("target", {"comfyui": "gpu-1:8188"}),
    ("target", {"comfyui": "http://me:secret@gpu-1:8188"}),
    ("target.comfyui", "http://gpu-1:8188"),
    ("target.embedded.gpu", {"memory": "24 bananas"}),
    ("target.embedded.faults", [{"kind": "ooom"}]),
    ("target.embedded.faults", [{"kind": "oom", "share": "50%"}]),
    ("goals", ["prompts.failed 1%"]),
]


def with_value(place: str, value: Any) -> dict[str, Any]:
    scenario: dict[str, Any] = copy.deepcopy(LEAST)
    *way, last = place.split(".")
    part: Any = scenario
    for step in way:
        part = part[int(step)] if isinstance(part, list) else part.setdefault(step, {})
    part[int(last) if isinstance(part, list) else last] = value
    return scenario


@pytest.mark.parametrize(("place", "value"), SHORT)
def test_short_forms_are_right(place: str, value: Any) -> None:
    """What people write instead of the long form is taken by the reader and by the schema."""
    scenario = with_value(place, value)
    Scenario.model_validate(scenario)
    assert list(mistakes(scenario, SCHEMA, SCHEMA)) == []


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_wrong_ones_are_marked(place: str, value: Any) -> None:
    """What the reader refuses by its form is refused by the schema."""
    scenario = with_value(place, value)
    with pytest.raises(ValidationError):
        Scenario.model_validate(scenario)
    assert list(mistakes(scenario, SCHEMA, SCHEMA))

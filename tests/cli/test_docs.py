"""Documentation and code name the same things."""

from __future__ import annotations

import re
import typing
from pathlib import Path

from comfysoak.main import VERBS
from comfysoak_core.rows import TABLES
from comfysoak_core.scenario import faults
from comfysoak_core.scenario.goals import MEASURES
from comfysoak_core.scenario.json_schema import scenario_json_schema

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


_SPREADS = ("prompts.", "nodes.", "models.")


def test_every_measure_is_documented() -> None:
    """Each measure of a goal stands in the table, statistics summed up by an asterisk."""
    text = (DOCS / "scenario.md").read_text(encoding="utf-8")
    for measure in MEASURES:
        head, _, statistic = measure.rpartition(".")
        shown = f"`{head}.*`" if head.count(".") and head.startswith(_SPREADS) else f"`{measure}`"
        assert shown in text or measure.startswith("failures."), measure
        assert statistic in text or measure.startswith("failures."), measure


def test_every_fault_is_documented() -> None:
    """Each kind of fault stands in the table with the code it provokes."""
    text = (DOCS / "scenario.md").read_text(encoding="utf-8")
    for fault in typing.get_args(typing.get_args(faults.Fault)[0]):
        kind = typing.get_args(fault.model_fields["kind"].annotation)[0]
        assert f"| `{kind}` | {fault.CODE}:" in text


def test_every_key_is_documented() -> None:
    """Each key of a scenario, in whatever section, is named by the documentation; the top ones stand in its table."""
    text = (DOCS / "scenario.md").read_text(encoding="utf-8")
    schema = scenario_json_schema()
    for name, section in schema["$defs"].items():
        for key in section.get("properties", {}):
            assert re.search(rf"\b{key}\b", text), f"{name}: {key}"
    for key in schema["properties"]:
        assert f"| `{key}" in text, key


def test_every_table_of_a_recording_is_documented() -> None:
    """Each table stands in the documentation of the recording, and the column each is sorted by."""
    text = (DOCS / "recording.md").read_text(encoding="utf-8")
    (tables,) = re.findall(r"\| table \| a row is .*?\n\n", text, re.DOTALL)
    for name, row in TABLES.items():
        assert f"`{name}`" in tables
        assert row.ORDERED_BY == "at_ns" or f"`{row.ORDERED_BY}` of {name}" in text


def test_the_readme_names_only_commands_there_are() -> None:
    """Each `comfysoak VERB` of the README is a verb."""
    words = (ROOT / "README.md").read_text(encoding="utf-8").split("comfysoak ")[1:]
    named = {rest.split()[0].strip("`|.,()") for rest in words if rest and rest[0].islower()}
    assert named & set(VERBS) == named - {"locustfiles"}


def test_links_lead_somewhere() -> None:
    """Each relative link of the README and of the documentation names a file that is there."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")):
        for part in page.read_text(encoding="utf-8").split("](")[1:]:
            target = part.split(")")[0].split("#")[0]
            if target and not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"

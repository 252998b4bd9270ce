"""`comfysoak init`: what it prints is a scenario, whatever the files are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from comfysoak.commands.init import command
from comfysoak_core.scenario.read import read_scenario
from comfysoak_core.scenario.resolve import resolve
from tests.cli.runs import ROOT


@pytest.mark.parametrize("stem", ["portrait", "a: b #c", "yes", "2026-01-01", "- x", "[1]", 'it\'s "it"', "Größe 1,5"])
def test_what_it_prints_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str) -> None:
    """The name and the workflow are the ones that were given."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "scenarios" / "workflows" / "sdxl.json", f"{stem}.json")
    printed = CliRunner().invoke(command, [f"./{stem}.json"])
    assert printed.exit_code == 0, printed.output
    scenario = tmp_path / "soak.yaml"
    scenario.write_text(printed.stdout, encoding="utf-8")
    plan = resolve(*read_scenario(scenario))
    assert (plan.name, plan.servers) == (stem, ("http://127.0.0.1:8188",))


def test_a_target_that_is_no_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not written into a scenario that cannot be run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "scenarios" / "workflows" / "sdxl.json", "sdxl.json")
    refused = CliRunner().invoke(command, ["sdxl.json", "--target", "gpu-1:8188"])
    assert refused.exit_code == 2
    assert "http://gpu-1:8188" in refused.output

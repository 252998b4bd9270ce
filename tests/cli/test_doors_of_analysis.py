"""What `report`, `compare` and `plan` say of recordings and texts that mean harm or hold nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from comfysoak import comparing
from comfysoak.main import run_command
from comfysoak_analysis.report import build
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.terminal import printable
from tests.analysis.planted import plant

STEERING = "\x1b]0;t\x07\x9b2J\u202e\u2066\u061c\x00\ufffe"
_STEERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe]")
DEMAND = ("--demand", "30/min", "--goal", "prompts.latency.p95 < 30s")


def test_a_plan_from_a_warm_up_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prompt that was only due in the warm-up tells no shares; it is said in words."""
    run = plant(tmp_path / "run", prompts_most=1, gpu=False, watchers=0)
    assert run_command(["plan", str(run), "--anyway", *DEMAND]) == 3
    assert "no prompt was measured" in capsys.readouterr().err


def test_a_baseline_of_an_invalid_run_is_not_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The call is right, the run is not: exit code 3, and no file."""
    run = plant(tmp_path / "run", gpu=False, watchers=0, users=1, ended=EndReason.CUT_OFF)
    assert run_command(["compare", str(run), "--save-baseline", str(tmp_path / "b.json")]) == 3
    assert "not valid, so no baseline" in capsys.readouterr().err
    assert not (tmp_path / "b.json").exists()


def test_a_comparison_that_takes_long_says_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run by run, on stderr, and what goes wrong after that is told as ever."""
    monkeypatch.setattr(comparing, "QUIET_S", 0.0)
    run, other = plant(tmp_path / "run", gpu=False, watchers=0, users=1), tmp_path / "other"
    other.mkdir()
    assert run_command(["compare", str(run), "--baseline", str(run), str(other)]) == 3
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == [f"reading {run} (1 of 2)", f"reading {other} (2 of 2)"]
    assert told[2].startswith(f"error: {other} is no run directory")


@pytest.mark.parametrize("verb", [("report",), ("plan", *DEMAND)])
def test_a_file_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    """Somebody names report.html instead of its folder: the remedy is not a matter of permissions."""
    page = tmp_path / "report.html"
    page.write_text("<!doctype html>", encoding="utf-8")
    assert run_command([verb[0], str(page), *verb[1:]]) == 3
    told = capsys.readouterr().err
    assert "report.html is no run directory" in told
    assert "Name a folder" in told


def test_a_lost_manifest_is_damage_and_not_an_empty_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables that nobody lists are not read, so all of them would seem empty."""
    run = plant(tmp_path / "run", gpu=False, watchers=0, users=1, seal=False)
    Recording.open(run).seal("finished")
    (run / "tables" / "manifest.json").unlink()
    assert run_command(["report", str(run)]) == 3
    assert "manifest.json is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--growth=1e999%", "--growth=-100%", "--growth=nan%", "--mix=sdxl=nan", "--mix=sdxl=inf"]
)
def test_a_plan_takes_numbers_only_that_mean_something(capsys: pytest.CaptureFixture[str], option: str) -> None:
    """Refused before any recording is read."""
    assert run_command(["plan", "nowhere", *DEMAND, option]) == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("--live", "--json"), ("--live", "--merge", "."), ("--port", "8100")])
def test_options_of_a_report_that_would_do_nothing_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """With the option that is one too many, or missing."""
    assert run_command(["report", str(tmp_path), *options]) == 2
    assert "--live" in capsys.readouterr().err


def test_nothing_in_a_report_steers_what_shows_it(tmp_path: Path) -> None:
    """Neither escapes of terminals nor characters that turn the direction of text, in page or incident folder."""
    run = plant(
        tmp_path / "run", name=f"run{STEERING}", node_error_at_s=(20.0,), node_error_text=f"boom{STEERING}",
        gpu=False, watchers=0, users=2, duration_s=30.0, workflows=(f"portrait{STEERING}",), gpu_host=f"gpu{STEERING}",
    )  # fmt: skip
    build(run)
    written = [run / "report.html", run / "summary.md", *(run / "incidents").rglob("*.*")]
    assert any(path.name == "finding.json" for path in written)
    assert {path.name: _STEERS.findall(path.read_text(encoding="utf-8")) for path in written if path.is_file()} == {
        path.name: [] for path in written if path.is_file()
    }
    assert json.loads((run / "incidents" / "finding-NODE_ERROR" / "finding.json").read_text())["count"] == 1


def test_a_terminal_is_not_steered_and_can_take_it() -> None:
    """A lone surrogate, as an undecodable file name has it, cannot be written to a terminal at all."""
    printable(f"a{STEERING}\udcff").encode("utf-8")
    assert not _STEERS.search(printable(f"a{STEERING}").replace("\ufffe", ""))

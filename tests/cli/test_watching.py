"""`comfysoak probe --out` alone, and the report on it: a recording of watching, by the commands people type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import comfysoak, document
from tests.probes.conftest import build

pytestmark = pytest.mark.compiler


def watched(folder: Path, *options: str, script: str | None = None, lasts: str = "1.5s") -> Path:
    """What a probe recorded, beside a stand-in driver where there is a script for it."""
    (folder / "script").write_text(script or "", encoding="utf-8")
    (folder / "driver").mkdir()
    library = build(folder / "driver") if script is not None else folder / "driver"
    done = comfysoak(
        "probe", "--for", lasts, "--out", str(folder / "out"), *options,
        cwd=folder, LD_LIBRARY_PATH=str(library), STANDIN_NVML=str(folder / "script"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "out").iterdir()
    return run


def test_a_recording_of_watching_is_reported_as_one(tmp_path: Path) -> None:
    """Exit code 0, a verdict that says what was watched, and no word about prompts, goals or what is not there."""
    run = watched(tmp_path, script="gpus 2\nset * utilization 40\nset 1 event_reasons 4\n", lasts="3s")
    done = comfysoak("report", str(run), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"WATCHED  Watched for \d.*: 2 GPUs, 1 host; no findings\.", done.stdout)
    verdict = document(run / "verdict.json")
    assert (verdict["conclusion"], verdict["exit_code"], verdict["valid"]) == ("watched", 0, True)
    assert (verdict["goals"], verdict["doubts"]) == ([], [])
    page, summary = (run / "report.html").read_text(encoding="utf-8"), (run / "summary.md").read_text(encoding="utf-8")
    assert set(re.findall(r'id="chart-([a-z-]+)"', page)) >= {"vram", "utilisation", "gpu-states", "host-cpu"}
    assert not set(re.findall(r'id="chart-([a-z-]+)"', page)) & {"prompts", "latency", "service", "queue", "incidents"}
    assert set(re.findall(r'<section id="([a-z]+)"', page)) == {
        "verdict", "timeline", "times", "events", "configuration", "health", "rules"
    }  # fmt: skip
    assert "| GPU | Host |" in summary
    assert not re.search(r"Latency|Workflow|Goal ", summary)


def test_what_is_critical_is_shown_and_the_exit_code_stays_zero(tmp_path: Path) -> None:
    """A GPU that falls off the bus is a finding of a recording of watching, too."""
    run = watched(tmp_path, script="gpus 1\ngone 0 0.5 100\n")
    done = comfysoak("report", str(run), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 critical finding" in done.stdout
    assert "finding-GPU_LOST" in (run / "report.html").read_text(encoding="utf-8")


def test_without_a_gpu_only_the_host_is_shown(tmp_path: Path) -> None:
    """No chart, tile or table of what was not watched."""
    run = watched(tmp_path, "--no-nvml")
    done = comfysoak("report", str(run), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Watched for" in page
    assert not re.search(r'chart-vram|<div class="tile-name">VRAM', page)
    assert 'id="chart-host-cpu"' in page


def test_nothing_at_all_is_a_report_as_well(tmp_path: Path) -> None:
    """A recording cut off before its first row says so, and breaks nothing."""
    recording = Recording.create(tmp_path, "probe", clock=ManualClock(1))
    recording.release()
    done = comfysoak("report", str(recording.path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nothing answered" in done.stdout
    assert "cut off" in done.stdout

"""SIGKILL of any process, or of all at once: nothing begun is forgotten, nothing goes on, a report can be made."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import Going, comfysoak, document, eventually, going, small_scenario

LONG = ("for: 3s", "for: 5m")


def begun(run: Going) -> set[str]:
    return {row["id"] for row in run.journal_rows("prompts")}


def cut_off_report(run: Going, folder: Path) -> None:
    """`comfysoak report` on what the killed run left: every prompt begun is a row with an end, and it is said."""
    ids = begun(run)
    directory = run.run_dir()
    done = comfysoak("report", str(directory), cwd=folder)
    assert done.returncode in (ExitCode.OK, ExitCode.NOT_VALID), done.stderr
    assert "Traceback" not in done.stderr
    assert document(directory / "run.json")["ended"]["reason"] == "cut off"
    assert document(directory / "verdict.json")["ended_how"] == "cut off"
    assert "cut off" in (directory / "report.html").read_text(encoding="utf-8")
    table = Recording.open(directory).table("prompts")
    assert ids <= set(table.column("id").to_pylist())
    assert None not in table.column("outcome").to_pylist()


def test_a_killed_supervisor_leaves_no_load_running(tmp_path: Path) -> None:
    """All children end by themselves when the supervisor is killed."""
    small_scenario(tmp_path, LONG)
    with going(tmp_path, "small.yaml") as run:
        run.wait_for_prompts(3)
        children = list(run.children().values())
        assert len(children) == 4
        run.process.send_signal(signal.SIGKILL)
        eventually(lambda: not any(child.is_running() for child in children), "all children gone", within_s=10)
        cut_off_report(run, tmp_path)


def test_all_killed_at_once(tmp_path: Path) -> None:
    """When every process dies in the same moment, what was journalled is all there."""
    small_scenario(tmp_path, LONG)
    with going(tmp_path, "small.yaml") as run:
        run.wait_for_prompts(3)
        family = [psutil.Process(run.process.pid), *run.children().values()]
        for member in family:
            member.send_signal(signal.SIGSTOP)
        for member in family:
            member.send_signal(signal.SIGKILL)
        run.process.wait()
        eventually(lambda: not any(child.is_running() for child in family[1:]), "all gone")
        cut_off_report(run, tmp_path)


@pytest.mark.parametrize("role", ["sampler", "recorder"])
def test_a_killed_watcher_is_started_again(tmp_path: Path, role: str) -> None:
    """A sampler or recorder that dies is replaced; the run goes on to its end and tells of it."""
    small_scenario(tmp_path, ("for: 3s", "for: 8s"))
    with going(tmp_path, "small.yaml") as run:
        run.wait_for_prompts(2)
        child = run.children()[role]
        child.send_signal(signal.SIGKILL)
        stdout, stderr = run.process.communicate(timeout=90)
        assert run.process.returncode in (ExitCode.OK, ExitCode.NOT_VALID), stderr + stdout
        events = Recording.open(run.run_dir()).table("events").to_pylist()
    (told,) = [event for event in events if event["kind"] == "child_died"]
    assert told["subject"] == role
    assert "SIGKILL" in told["detail"]


@pytest.mark.parametrize("role", ["load", "simulator"])
def test_a_killed_load_or_target_ends_the_run(tmp_path: Path, role: str) -> None:
    """Without load, or without its embedded target, a run ends, is sealed, and says why."""
    small_scenario(tmp_path, LONG)
    with going(tmp_path, "small.yaml") as run:
        run.wait_for_prompts(3)
        run.children()[role].send_signal(signal.SIGKILL)
        stdout, stderr = run.process.communicate(timeout=90)
        directory = run.run_dir()
        assert run.process.returncode == ExitCode.NOT_VALID, stderr + stdout
    ended = document(directory / "run.json")["ended"]
    assert ended["reason"] == "aborted"
    assert role in ended["detail"]
    assert "SIGKILL" in ended["detail"]
    assert None not in Recording.open(directory).table("prompts").column("outcome").to_pylist()

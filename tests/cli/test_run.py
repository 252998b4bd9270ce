"""The main job, from a scenario to a verdict, on the embedded simulator."""

from __future__ import annotations

import json
import signal
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import comfysoak, document, going, only_run, small_scenario


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of three seconds, and what it said on stdout."""
    folder = tmp_path_factory.mktemp("small")
    small_scenario(folder)
    done = comfysoak("run", "small.yaml", cwd=folder)
    assert done.returncode == ExitCode.OK, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return only_run(folder), done.stdout


def test_it_passes_and_says_where_the_report_is(small: tuple[Path, str]) -> None:
    """The verdict and the report's path are on stdout."""
    run, stdout = small
    assert stdout.startswith("PASSED")
    assert "prompts.failed < 50%" in stdout
    assert f"{run.name}/report.html" in stdout


def test_every_table_has_rows(small: tuple[Path, str]) -> None:
    """Load, probes and server all wrote: prompts that worked, sockets, GPU by the simulator's exporter, host, log."""
    recording = Recording.open(small[0])
    outcomes = recording.table("prompts").column("outcome").to_pylist()
    assert outcomes.count("success") >= 2
    assert None not in outcomes
    roles = recording.table("sessions").column("role").to_pylist()
    assert set(roles) == {"user", "watcher"}
    for table in (
        "nodes",
        "gpu",
        "gpu_slow",
        "host",
        "processes",
        "server",
        "server_log",
        "generator",
        "clocks",
        "events",
    ):
        assert recording.table(table).num_rows > 0, table
    assert set(recording.table("gpu").column("source").to_pylist()) == {"dcgm"}


def test_it_leaves_what_a_pipeline_reads(small: tuple[Path, str]) -> None:
    """verdict.json, junit.xml and summary.md agree with the exit code."""
    run, _ = small
    assert document(run / "verdict.json")["exit_code"] == ExitCode.OK
    assert ET.parse(run / "junit.xml").getroot().tag in ("testsuite", "testsuites")
    assert "prompts.failed" in (run / "summary.md").read_text(encoding="utf-8")
    assert document(run / "run.json")["ended"]["reason"] == "finished"


def test_logs_tell_of_sockets_prompts_and_configuration(small: tuple[Path, str]) -> None:
    """Each socket's opening and end, each prompt's end and the configuration are structured lines."""
    run, _ = small
    recording = Recording.open(run)
    connections = [json.loads(line) for line in (run / "logs" / "connections.jsonl").read_text().splitlines()]
    generations = [json.loads(line) for line in (run / "logs" / "generations.jsonl").read_text().splitlines()]
    assert len(generations) == recording.table("prompts").num_rows
    assert len(connections) >= 2 * recording.table("sessions").num_rows - 1
    assert document(run / "logs" / "configuration.json")


def test_the_report_can_be_made_again_anywhere(small: tuple[Path, str], tmp_path: Path) -> None:
    """A copy of the run directory is enough for the same verdict."""
    import shutil

    copy = tmp_path / "elsewhere"
    shutil.copytree(small[0], copy)
    (copy / "report.html").unlink()
    before = document(copy / "verdict.json")
    done = comfysoak("report", str(copy), "--json", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert json.loads(done.stdout)["goals"] == before["goals"]
    assert (copy / "report.html").stat().st_size > 100_000


def test_a_missed_goal_is_exit_code_1(tmp_path: Path) -> None:
    """A goal that cannot be met fails the run."""
    small_scenario(tmp_path, ('"prompts.failed < 50%"', '"prompts.latency.p50 < 1ms"'))
    done = comfysoak("run", "small.yaml", "--quiet", cwd=tmp_path)
    assert done.returncode == ExitCode.GOAL_MISSED, done.stderr + done.stdout
    assert done.stdout.startswith("FAILED")
    assert done.stderr == ""


def test_without_a_terminal_progress_is_plain_lines(tmp_path: Path) -> None:
    """No escape codes reach a log file."""
    small_scenario(tmp_path, ("for: 3s", "for: 12s"))
    done = comfysoak("run", "small.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert "\x1b" not in done.stderr + done.stdout
    assert "prompts/min" in done.stderr


def test_ctrl_c_seals_and_reports(tmp_path: Path) -> None:
    """Interrupted, a run still has its recording, its verdict and its own exit code."""
    small_scenario(tmp_path, ("for: 3s", "for: 5m"))
    with going(tmp_path, "small.yaml") as run:
        run.wait_for_prompts(3)
        run.process.send_signal(signal.SIGINT)
        run.process.communicate(timeout=60)
        assert run.process.returncode == ExitCode.INTERRUPTED
        directory = run.run_dir()
    assert document(directory / "run.json")["ended"]["reason"] == "interrupted"
    assert document(directory / "verdict.json")["ended_how"] == "interrupted"
    assert None not in Recording.open(directory).table("prompts").column("outcome").to_pylist()


def test_two_servers_share_the_users(tmp_path: Path) -> None:
    """With several servers each row names its own, and all get work."""
    small_scenario(tmp_path, ("    gpu:", "    servers: 2\n    gpu:"))
    done = comfysoak("run", "small.yaml", "--json", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    assert len(set(Recording.open(only_run(tmp_path)).table("prompts").column("server").to_pylist())) == 2

"""Courses from end to end: loads that pause and go on, servers that start cold, runs that end when they must."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.recording import Recording
from tests.cli.runs import comfysoak, document, only_run, prompts_of, small_scenario
from tests.load.locusting import free_ports

USERS = "  - {users: 2, for: 3s}\n"
EMBEDDED = "  embedded:\n"
Row = dict[str, Any]


def events_of(folder: Path, kind: str, subject: str = "") -> list[Row]:
    rows: list[Row] = Recording.open(only_run(folder)).table("events").to_pylist()
    chosen = (row for row in rows if row["kind"] == kind and subject in ("", row["subject"]))
    return sorted(chosen, key=lambda row: int(row["at_ns"]))


def spans(events: Iterable[Row]) -> list[tuple[int, int]]:
    """From each `begin` to its `end`."""
    edges = [(row["subject"], int(row["at_ns"])) for row in events]
    assert [edge for edge, _ in edges] == ["begin", "end"] * (len(edges) // 2)
    return [(edges[index][1], edges[index + 1][1]) for index in range(0, len(edges), 2)]


def test_load_settles_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """Nothing is sent while servers settle, and no arrival of the schedule is lost, late or doubled by it."""
    settle = "settle: {every: 1s, wait: 300ms}"
    small_scenario(
        tmp_path,
        (
            USERS,
            f"  - {{users: 2, for: 1s, {settle}}}\n  - {{arrivals: 20/s, process: constant, for: 1500ms, {settle}}}\n",
        ),
    )
    done = comfysoak("run", "small.yaml", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    settled = spans(events_of(tmp_path, "settled"))
    assert len(settled) == 2
    assert all("free memory: " in row["detail"] for row in events_of(tmp_path, "settled", "begin"))
    phases = [row["subject"] for row in events_of(tmp_path, "phase")]
    assert phases == ["load", "settle", "load", "settle", "load"]
    prompts = prompts_of(tmp_path)
    assert {row["phase"] for row in prompts} == {"load"}
    assert {row["outcome"] for row in prompts} == {"success"}
    assert not any(begin <= row["sent_ns"] <= end for begin, end in settled for row in prompts)
    arrivals = [row for row in prompts if row["scheduled_ns"] > settled[0][1]]
    assert len(arrivals) == 30
    gaps = [later["scheduled_ns"] - earlier["scheduled_ns"] for earlier, later in pairwise(arrivals)]
    assert all(abs(gap - 50_000_000) <= 1 for number, gap in enumerate(gaps) if number != 19)
    assert gaps[19] > 300_000_000
    health = (only_run(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "in use after the first of 2 settles" in health


def test_servers_start_cold(tmp_path: Path) -> None:
    """One that is not there yet may be started by the run; each step is told; one that does not come is a finding."""
    (port,) = free_ports(1)
    program = f'"{sys.executable}", "-m", "comfysoak", "sim", "--port", "{port}", "--speed", "100"'
    load = "  - {users: 2, for: 1s}\n"
    up, down = f"{{command: [{program}]}}", "{command: 'echo no such container; exit 3'}"
    small_scenario(
        tmp_path, (USERS, f"  - {{cold_start: {up}, for: 1m}}\n{load}  - {{cold_start: {down}, for: 1s}}\n{load}")
    )
    done = comfysoak("run", "small.yaml", "--target", f"http://127.0.0.1:{port}", cwd=tmp_path)
    assert "COLD_START_FAILED" in done.stdout, done.stdout + done.stderr
    assert [row["subject"] for row in events_of(tmp_path, "phase")] == ["cold start", "load"] * 2
    steps = [row for row in events_of(tmp_path, "cold_start") if row["subject"] != "command"]
    assert [row["subject"] for row in steps] == ["start", "answers", "ready", "picture", "start", "failed"]
    assert steps[-1]["detail"].startswith("it was not ready (/system_stats: connection refused")
    assert steps[-1]["detail"].endswith("within 1 s; the command: it ended with exit status 3")
    (told,) = events_of(tmp_path, "cold_start", subject="command")
    assert told["detail"] == "it ended with exit status 3: no such container"
    first = prompts_of(tmp_path)[0]
    assert (first["phase"], first["outcome"], first["outputs_ok"]) == ("cold start", "success", True)
    sessions = Recording.open(only_run(tmp_path)).table("sessions").to_pylist()
    assert {row["closed_by"] for row in sessions if row["opened_ns"] is not None} == {"client"}
    assert "first picture after" in (only_run(tmp_path) / "summary.md").read_text(encoding="utf-8")
    assert document(only_run(tmp_path) / "run.json")["ended"]["reason"] == "finished"


def test_a_run_ends_at_its_longest_duration(tmp_path: Path) -> None:
    """Gracefully, in all processes: what is open ends, nothing is aborted, and the report says what was not run."""
    small_scenario(tmp_path, (USERS, "  - {users: 2, for: 1h}\n  - {arrivals: 1/s, for: 1h}\n"))
    done = comfysoak("run", "small.yaml", "--max-duration", "3s", "--processes", "2", cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    summary = (only_run(tmp_path) / "summary.md").read_text(encoding="utf-8").replace("\\", "")
    assert "Not all stages were run: max_duration of 3 s was reached in stage 1 of 2" in summary
    ended = document(only_run(tmp_path) / "run.json")["ended"]
    assert (ended["reason"], ended["detail"]) == ("time up", "max_duration of 3 s was reached in stage 1 of 2")
    assert {row["outcome"] for row in prompts_of(tmp_path)} == {"success"}

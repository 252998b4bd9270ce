from __future__ import annotations

import json
import shutil
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import psutil
import pytest

from comfysoak_core.recording.run_file import EndReason
from tests.load.locusting import LOCUSTFILES, ended, free_ports, plain_locust, queue_of, rows, runs_in, told, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")


def two_workers() -> tuple[str, ...]:
    """Options for two workers whose master's port is its own."""
    port = str(free_ports(1)[0])
    return ("--processes", "2", "--master-bind-port", port, "--master-port", port)


def history_of(server: str) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{server}/history", timeout=30) as answer:
        found: dict[str, dict[str, object]] = json.load(answer)
    return found


def test_plain_locust_records_every_prompt(simulator: str, tmp_path: Path) -> None:
    """Without a command of ours: prompts are sent, watched, fetched, checked, recorded and sealed."""
    said = ended(plain_locust(tmp_path, simulator, "--headless", "-u", "3", "-r", "3", "-t", "2s"))
    (recording,) = runs_in(tmp_path)
    assert f"comfysoak report runs/{recording.path.name}" in said
    assert recording.run.sealed
    assert recording.run.ended is not None
    assert recording.run.ended.reason is EndReason.FINISHED
    prompts = rows(recording, "prompts")
    assert len(prompts) >= 3
    assert {row["outcome"] for row in prompts} == {"success"}
    assert {row["id"] for row in prompts} <= set(history_of(simulator))
    for row in prompts:
        assert row["outputs_ok"] is True
        assert row["outputs_received"] == row["outputs_expected"] == 1
        assert row["nodes_executed"] == 3
        assert row["scheduled_ns"] <= row["sent_ns"] <= row["accepted_ns"] <= row["finished_ns"]
        assert row["start_received_ns"] <= row["end_received_ns"] <= row["fetched_ns"]
        assert row["end_source"] == "socket"
    nodes = Counter(row["prompt_id"] for row in rows(recording, "nodes") if row["ended_ns"] is not None)
    assert nodes == dict.fromkeys((row["id"] for row in prompts), 3)
    sessions = rows(recording, "sessions")
    assert [(row["role"], row["closed_by"], row["close_code"]) for row in sessions] == [("user", "client", 1000)] * 3
    generator = rows(recording, "generator")
    assert max(row["sockets"] for row in generator) == 3
    assert all(row["journal_errors"] == 0 and row["handles"] and row["rss_bytes"] for row in generator)


def test_a_folder_of_locustfiles_works(simulator: str, tmp_path: Path) -> None:
    """`-f locustfiles` loads every file in the folder, the package beside the entry files included."""
    folder = tmp_path / "locustfiles"
    shutil.copytree(LOCUSTFILES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "mine.py").write_text(
        "from locust import events\n"
        "from comfysoak_load.harness import attach\n"
        "from comfysoak_load.users import ComfyUser\n"
        "events.init.add_listener(attach)\n"
        "class MyUser(ComfyUser):\n"
        "    def generate(self):\n"
        "        self.client.generate('built-in')\n"
    )
    ended(plain_locust(tmp_path, simulator, "--headless", "-u", "2", "-t", "2s", "-r", "2", locustfile=folder))
    (recording,) = runs_in(tmp_path)
    prompts = rows(recording, "prompts")
    assert prompts
    assert {row["outcome"] for row in prompts} == {"success"}


def test_workers_write_one_recording_and_send_different_prompts(simulator: str, tmp_path: Path) -> None:
    """With --processes all rows are in one recording, and no two workers draw the same values."""
    ended(plain_locust(tmp_path, simulator, "--headless", "-u", "2", "-r", "2", "-t", "2s", *two_workers()))
    (recording,) = runs_in(tmp_path)
    assert recording.run.sealed
    prompts = rows(recording, "prompts")
    assert {row["worker"] for row in prompts} == {"load-0", "load-1"}
    assert {row["outcome"] for row in prompts} == {"success"}
    sent = [[row["variation"] for row in prompts if row["worker"] == worker] for worker in ("load-0", "load-1")]
    assert not set(sent[0][:5]) & set(sent[1][:5])
    assert {row["closed_by"] for row in rows(recording, "sessions")} == {"client"}


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, EndReason.TERMINATED), (signal.SIGINT, EndReason.INTERRUPTED)]
)
def test_a_signal_seals_and_takes_the_open_prompts_back(
    own_simulator: object, tmp_path: Path, number: int, reason: EndReason
) -> None:
    """Interrupted, Locust ends within 3 s; open prompts are aborted, and the server is not left working on them."""
    costs = tmp_path / "costs.yaml"
    costs.write_text("ImageInvert: {seconds: 60000}\n")
    with own_simulator("--costs", str(costs)) as (server, _):  # type: ignore[operator]  # a context manager
        process = plain_locust(tmp_path, server, "--headless", "-u", "3", "-r", "3", "-t", "60s")
        wait_until(lambda: len(queue_of(server)) == 3, "three prompts in the queue")
        process.send_signal(number)
        started = time.monotonic()
        process.communicate(timeout=30)
        assert time.monotonic() - started < 10  # three seconds on a machine that has nothing else to do
        (recording,) = runs_in(tmp_path)
        assert recording.run.sealed
        assert recording.run.ended is not None
        assert recording.run.ended.reason is reason
        assert [row["outcome"] for row in rows(recording, "prompts")] == ["aborted"] * 3
        wait_until(lambda: len(queue_of(server)) <= 1, "the waiting prompts are deleted")


def test_the_web_page_starts_stops_and_starts_again(simulator: str, tmp_path: Path) -> None:
    """Two starts from Locust's web page are two recordings, each sealed when its test stops."""
    (port,) = free_ports(1)
    process = plain_locust(tmp_path, simulator, "--web-host", "127.0.0.1", "--web-port", str(port))
    page = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(page), "the web page answers")
        for count in (1, 2):
            form = urllib.parse.urlencode({"user_count": 2, "spawn_rate": 2, "host": simulator}).encode()
            with urllib.request.urlopen(f"{page}/swarm", form, timeout=30) as answer:
                assert json.load(answer)["success"]
            wait_until(lambda count=count: done_in(tmp_path, count) >= 2, "two prompts have ended")  # type: ignore[misc]
            with urllib.request.urlopen(f"{page}/stop", b"", timeout=60) as answer:
                assert json.load(answer)["success"]
            wait_until(lambda count=count: len(sealed_in(tmp_path)) == count, "the recording is sealed")  # type: ignore[misc]
    finally:
        process.terminate()
        process.communicate(timeout=30)
    for recording in runs_in(tmp_path):
        assert {row["outcome"] for row in rows(recording, "prompts")} == {"success"}


def answers(page: str) -> bool:
    try:
        with urllib.request.urlopen(page, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def done_in(folder: Path, count: int) -> int:
    """How many prompts have ended in the recording of this number."""
    found = runs_in(folder) if (folder / "runs").exists() else []
    return told(found[count - 1].layout.journal, "prompts", "outcome") if len(found) >= count else 0


def sealed_in(folder: Path) -> list[str]:
    return [recording.path.name for recording in runs_in(folder) if recording.run.sealed]


@pytest.mark.parametrize("host", ["", "ftp://somewhere", "http://me:secret@127.0.0.1:1"])
def test_a_wrong_host_ends_at_once_with_one_message(tmp_path: Path, host: str) -> None:
    """A host that cannot be is told before the start, with exit status 2, and leaves no recording behind."""
    process = plain_locust(tmp_path, host, "--headless", "-t", "60s")
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert "--host http://127.0.0.1:8188" in said or "COMFYSOAK_TOKEN" in said
    assert "Traceback" not in said
    assert "secret" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("workers", [False, True])
def test_a_folder_that_cannot_be_written_ends_with_one_message(simulator: str, tmp_path: Path, workers: bool) -> None:
    """Where no recording can be made nothing is sent."""
    (tmp_path / "runs").write_text("in the way")
    process = plain_locust(tmp_path, simulator, "--headless", "-t", "60s", *(two_workers() if workers else ()))
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 2, said
    assert "run directory cannot be made" in said
    assert "Traceback" not in said


def test_workers_end_with_their_master(simulator: str, tmp_path: Path) -> None:
    """A master that is killed leaves no load behind: its workers end by themselves, and their prompts are rows."""
    process = plain_locust(tmp_path, simulator, "--headless", "-u", "2", "-r", "2", "-t", "60s", *two_workers())
    wait_until(lambda: done_in(tmp_path, 1) >= 2, "two prompts have ended")
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=30)  # ends when nobody holds the pipe any more
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    (recording,) = runs_in(tmp_path)
    wait_until(lambda: not recording.is_running(), "nobody writes any more")
    assert recording.seal_if_cut_off()
    assert {row["outcome"] for row in rows(recording, "prompts")} <= {"success", "aborted"}

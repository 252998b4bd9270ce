"""Load from several machines, as people start it: a master and workers, all of them processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from comfysoak_core.recording.recording import Recording
from tests.cli.runs import ROOT, Going, comfysoak, document, eventually, going, only_run
from tests.load.locusting import free_ports, queue_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="load runs on Linux and macOS")

COSTS = 'KSampler: {steps: "{steps}", seconds_per_step: 2ms, vram: 1 GiB}\n'
SCENARIO = f"""\
name: several
target: {{comfyui: "%s"}}
workload:
  - workflow: {ROOT}/scenarios/workflows/sdxl.json
    deadline: 20s
    vary: {{seed: random, inputs: {{5.width: [64], 5.height: [64]}}}}
load:
  - {{%s, for: %s}}
sessions: {{watchers: 3}}
goals: ["prompts.failed < 50%%"]
on_undecided: pass
"""


def adjacent_ports() -> int:
    """A port that is free, as is the one after it."""
    while True:
        (port,) = free_ports(1)
        with suppress(OSError, OverflowError), socket.create_server(("127.0.0.1", port + 1)):
            return port


@contextmanager
def simulator(folder: Path) -> Iterator[str]:
    """A ComfyUI that outlives the run, so that it can be asked what it was given."""
    (folder / "costs.yaml").write_text(COSTS, encoding="utf-8")
    with process("sim", "--port", "0", "--costs", "costs.yaml", folder=folder, stdout=subprocess.PIPE) as found:
        assert found.stdout is not None
        yield json.loads(found.stdout.readline())["servers"][0]


@contextmanager
def process(
    verb: str, *options: str, folder: Path, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """A command of ours; nothing of it is left afterwards."""
    with (folder / f"{verb}.err").open("w", encoding="utf-8") as errors:
        found = subprocess.Popen(
            [sys.executable, "-m", "comfysoak", verb, *options],
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=errors,
            text=True,
        )
    try:
        yield found
    finally:
        with suppress(psutil.NoSuchProcess):
            for member in [*psutil.Process(found.pid).children(recursive=True), psutil.Process(found.pid)]:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
        found.communicate()


@contextmanager
def worker(folder: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A worker machine with a folder of its own."""
    folder.mkdir()
    arguments = ("--master-host", "127.0.0.1", "--master-port", str(port), *options)
    with process("worker", *arguments, folder=folder) as found:
        yield found


class Cable:
    """The way of one worker to its master: two ports that lead to the master's two, until it is cut."""

    def __init__(self, port: int) -> None:
        self.port = adjacent_ports()
        self._plugged = threading.Event()
        self._plugged.set()
        self._lines: list[socket.socket] = []
        self._listening = [socket.create_server(("127.0.0.1", self.port + offset)) for offset in (0, 1)]
        for offset, listening in enumerate(self._listening):
            threading.Thread(target=self._accept, args=(listening, port + offset), daemon=True).start()

    def cut(self) -> None:
        """Nothing comes through any more, and nobody is told: as when a cable is pulled."""
        self._plugged.clear()

    def heal(self) -> None:
        """What was sent meanwhile comes through, and what comes after it."""
        self._plugged.set()

    def close(self) -> None:
        """Take no more, carry no more."""
        self._plugged.set()
        for end in (*self._listening, *self._lines):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listening: socket.socket, port: int) -> None:
        with suppress(OSError):
            while True:
                one, _ = listening.accept()
                self._plugged.wait()
                try:
                    other = socket.create_connection(("127.0.0.1", port), 5)
                except OSError:
                    one.close()
                    continue
                self._lines += [one, other]
                for source, sink in ((one, other), (other, one)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            source.settimeout(None)
            while data := source.recv(65536):
                self._plugged.wait()
                sink.sendall(data)
        self._plugged.wait()
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def history_of(server: str) -> set[str]:
    """The ids of all prompts the server has ended."""
    with urlopen(f"{server}/history?max_items=100000") as answer:
        return set(json.load(answer))


def test_all_rows_of_all_workers_are_in_one_recording(tmp_path: Path) -> None:
    """A run over two machines ends as one on one machine does, and leaves nothing on the workers."""
    with ExitStack() as stack:
        server, port = stack.enter_context(simulator(tmp_path)), adjacent_ports()
        (tmp_path / "open.yaml").write_text(SCENARIO % (server, "arrivals: 12/s, process: constant", "3s"))
        one = stack.enter_context(worker(tmp_path / "one", port))
        two = stack.enter_context(worker(tmp_path / "two", port, "--processes", "2"))
        result = comfysoak(
            "run", "open.yaml", "--master", "--workers", "2", "--bind", f"127.0.0.1:{port}", cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert (one.wait(20), two.wait(20)) == (0, 0)
        recording = Recording.open(only_run(tmp_path))
        prompts = recording.table("prompts").to_pylist()
        assert {row["id"] for row in prompts} == history_of(server)
    assert len(prompts) == 36
    assert Counter(row["worker"] for row in prompts) == {"load-0": 12, "load-1": 12, "load-2": 12}
    assert {row["outcome"] for row in prompts} == {"success"}
    assert sum(row["role"] == "watcher" for row in recording.table("sessions").to_pylist()) == 3
    clocks = [row for row in recording.table("clocks").to_pylist() if row["clock"] == "worker"]
    assert len({row["host"] for row in clocks}) == 2
    assert all(abs(row["offset_ns"]) < 1e9 and 0 < row["error_ns"] < 1e9 for row in clocks)
    for row in prompts:  # one clock: the server, on this machine, cannot have started before the prompt was due
        assert row["scheduled_ns"] <= row["sent_ns"] <= row["accepted_ns"] <= row["finished_ns"]
    assert not list(tmp_path.glob("*/comfysoak-worker-*"))
    assert document(recording.path / "verdict.json")["conclusion"] == "passed"


def kinds(run: Going) -> Counter[str]:
    """What has happened so far."""
    return Counter(row["kind"] for row in run.journal_rows("events"))


def makes_load_again(run: Going) -> bool:
    """Whether a load process that joined in the middle of the run has sent something."""
    joined = {row["subject"] for row in run.journal_rows("events") if row["kind"] == "worker_joined"}
    return any(row["worker"] in joined for row in run.journal_rows("prompts"))


def test_a_killed_and_a_cut_off_worker_are_named_and_the_master_may_die_too(tmp_path: Path) -> None:
    """Prompts of a dead worker are aborted with the reason; one that was cut off comes back and loses nothing.

    When the master is killed the workers end within seconds; what they could not deliver is merged by hand.
    """
    with ExitStack() as stack:
        server, port = stack.enter_context(simulator(tmp_path)), adjacent_ports()
        (tmp_path / "closed.yaml").write_text(SCENARIO % (server, "users: 3", "10m"))
        cable = Cable(port)
        stack.callback(cable.close)
        steady = stack.enter_context(worker(tmp_path / "steady", port, "--patience", "1s"))
        cut_off = stack.enter_context(worker(tmp_path / "cut", cable.port, "--patience", "1m"))
        killed = stack.enter_context(worker(tmp_path / "killed", port))
        options = ("--master", "--workers", "3", "--bind", f"127.0.0.1:{port}", "--worker-silence", "3s")
        run = stack.enter_context(going(tmp_path, "closed.yaml", *options))
        run.wait_for_prompts(6)
        cable.cut()
        os.kill(killed.pid, signal.SIGKILL)
        eventually(lambda: kinds(run)["machine_lost"] >= 2 and kinds(run)["worker_lost"] >= 2, "both are missed")
        cable.heal()
        eventually(lambda: kinds(run)["machine_back"] >= 1, "one is back")
        eventually(lambda: makes_load_again(run), "it makes load again")

        run.process.kill()
        cut_off.send_signal(signal.SIGTERM)
        assert steady.wait(20) == 3
        cut_off.wait(20)
        eventually(lambda: not queue_of(server), "nobody's GPU goes on", within_s=10)
        folders = sorted(tmp_path.glob("*/comfysoak-worker-*"))
        assert f"comfysoak report RUN --merge {next(iter((tmp_path / 'steady').glob('comfy*'))).name}" in (
            tmp_path / "steady" / "worker.err"
        ).read_text(encoding="utf-8")
        eventually(lambda: not Recording.open(run.run_dir()).is_running(), "all of the run has ended")
        merge = [word for folder in folders for word in ("--merge", str(folder))]
        result = comfysoak("report", str(run.run_dir()), *merge, "--json", cwd=tmp_path)
        assert json.loads(result.stdout)["conclusion"] == "not valid", result.stderr
        recording = Recording.open(run.run_dir())
        prompts = recording.table("prompts").to_pylist()
        accepted = {row["id"] for row in prompts if row["accepted_ns"] is not None}
        ended = history_of(server)
    assert ended <= {row["id"] for row in prompts}
    assert {row["id"] for row in prompts if row["outcome"] == "success"} <= ended
    assert len(prompts) == len({row["id"] for row in prompts})
    assert accepted
    for row in prompts:
        assert row["outcome"] in {"success", "aborted", "interrupted", "failed"}
    lost = [row for row in recording.table("events").to_pylist() if row["kind"] == "worker_lost"]
    assert all("is not heard of any more" in row["detail"] and "(process " in row["detail"] for row in lost)
    doubts = {doubt["name"] for doubt in document(recording.path / "verdict.json")["doubts"]}
    assert "lost workers" in doubts

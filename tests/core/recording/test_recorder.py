"""The recorder as a process: started, stopped, killed, beside real writers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.core.recording.samples import START_NS, FullDisk, event, gpu, make_journal, make_run, prompt, session

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.lock import is_held
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.start import start_recorder, stop_recorder

ROOT = Path(__file__).parents[3]


def wait_for(path: Path, what: str = "", seconds: float = 60) -> str:
    """Wait until the file is there with `what` in it; its text."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if path.exists() and what in path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{what!r} did not come into {path}")


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program of the tests, killed at the end."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], cwd=ROOT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_logs_holds_its_lock_and_ends_when_told(tmp_path: Path) -> None:
    """A line comes while it runs; SIGTERM ends it with exit code 0, and the run is sealed after."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    recorder = start_recorder(recording.path)
    try:
        journal.add_now(session("s", 1, opened_ns=2))
        wait_for(recording.layout.logs / "connections.jsonl", '"opened"')
        assert is_held(recording.layout.recorder_lock)
        assert json.loads((recording.layout.logs / "configuration.json").read_text())["run"] == recording.run.id
    finally:
        stop_recorder(recorder)
    assert recorder.returncode == ExitCode.OK
    journal.close()
    recording.seal("finished", 5)
    assert recording.table("sessions")["closed_ns"].to_pylist() == [5]


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """When its parent is killed nobody records any more."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    program = (
        "import sys, time; from pathlib import Path; from comfysoak_core.recording.start import start_recorder\n"
        "print(start_recorder(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, recording.path], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_for(recording.layout.logs / "progress.json")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    give_up = time.monotonic() + 30
    while _is_alive(pid):
        assert time.monotonic() < give_up, "the recorder outlived its parent"
        time.sleep(0.01)
    assert not recording.is_running()


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_one_recorder_is_enough(tmp_path: Path) -> None:
    """A second one ends at once with exit code 3 and one line; so does one in a folder that is no run, or sealed."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    recorder = start_recorder(recording.path)
    try:
        wait_for(recording.layout.logs / "progress.json")
        assert "another process" in _refused(recording.path)
    finally:
        stop_recorder(recorder)
    assert "no run directory" in _refused(tmp_path)
    recording.seal("finished")
    before = sorted(recording.path.rglob("*"))
    assert "is sealed" in _refused(recording.path)
    assert sorted(recording.path.rglob("*")) == before


def _refused(path: Path) -> str:
    command = [sys.executable, "-m", "comfysoak_core.recording.recorder", str(path)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == ExitCode.NOT_VALID
    assert "Traceback" not in result.stderr
    return result.stderr


def test_sigterm_in_the_middle_of_work_loses_nothing(tmp_path: Path) -> None:
    """Told to end while it moves rows, it ends with exit code 0, and all rows are there."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    for number in range(30_000):
        journal.add(gpu(number))
    journal.flush()
    clock.advance(1000)
    journal.add_now(gpu(30_000))
    with running("tests.core.recording.fast_recorder", str(recording.path)) as recorder:
        wait_for(recording.layout.logs / "progress.json")
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(30) == 0
    assert recording.table("gpu")["at_ns"].to_pylist() == list(range(30_001))
    journal.close()


@pytest.mark.parametrize("all_at_once", [True, False])
def test_real_processes_killed_at_any_moment(tmp_path: Path, *, all_at_once: bool) -> None:
    """Writers and recorders are killed (-9) at random: what was told to be on disk is there, once, and logged once."""
    dice = random.Random(all_at_once)
    recording = make_run(tmp_path, ManualClock(START_NS))
    told: dict[str, int] = {}
    recorder = _start("fast_recorder", recording.path)
    writers = {name: _start("writer", recording.layout.journal, name) for name in ("a", "b")}
    try:
        for round_number in range(3):
            for name, writer in list(writers.items()):
                assert writer.stdout is not None
                for _ in range(dice.randint(20, 60)):
                    told[name] = int(writer.stdout.readline())
                if round_number == 1:
                    _kill(writer, told, name)
                    writers[f"{name}1"] = _start("writer", recording.layout.journal, f"{name}1")
                    del writers[name]
            _kill(recorder, {}, "")
            recorder = _start("fast_recorder", recording.path)
    finally:
        for process, name in [(recorder, "")] * all_at_once + [(writer, name) for name, writer in writers.items()]:
            _kill(process, told if name else {}, name)
        if not all_at_once:
            wait_for(recording.layout.manifest, '"generation"')
            _kill(recorder, {}, "")
    assert recording.seal_if_cut_off()
    _check_nothing_lost(recording, told)


def _start(module: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.core.recording.{module}", *map(str, arguments)],
        cwd=ROOT, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip


def _kill(process: subprocess.Popen[str], told: dict[str, int], name: str) -> None:
    """Kill it, and note the last it told."""
    os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    whole = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    if whole:
        told[name] = int(whole[-1])


def _check_nothing_lost(recording: Recording, told: dict[str, int]) -> None:
    outcomes = {row["id"]: row["outcome"] for row in recording.table("prompts", ["id", "outcome"]).to_pylist()}
    assert recording.table("prompts").num_rows == len(outcomes)
    events = Counter(recording.table("events", ["detail"])["detail"].to_pylist())
    assert set(events.values()) == {1}
    assert len(told) == 4
    for name, last in told.items():
        for number in range(last + 1):
            assert outcomes[f"{name}-{number}"] == ("success" if number % 5 else "aborted")
            assert events[f"{name}-{number}"] == 1
    lines = (recording.layout.logs / "generations.jsonl").read_text().splitlines()
    logged = Counter(json.loads(line)["generation"] for line in lines)
    assert logged == dict.fromkeys(outcomes, 1)


@pytest.mark.parametrize("kind", ["write", "sync", "rename", "append", "remove"])
def test_a_full_disk_is_waited_out(tmp_path: Path, kind: str) -> None:
    """Whatever step the disk refuses, the recorder loses nothing and goes on when there is room."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    disk = FullDisk(kind)
    disk.full = False
    recorder = Recorder(recording.layout, disk=disk)
    refused = 0
    for number in range(4):
        journal.add(prompt(f"p{number}", number, "success"))
        journal.add(event(number))
        journal.flush()
        clock.advance(1000)
        disk.full = True
        for step in (recorder.log, recorder.sync, recorder.compact) * 2:
            try:
                step()
            except OSError:
                refused += 1
        disk.full = False
        assert recording.table("events").num_rows == number + 1
        recorder.log()
        recorder.compact()
        assert recording.table("events").num_rows == number + 1
    assert refused >= 8
    journal.close()
    recording.seal("finished", 9)
    assert recording.table("prompts").num_rows == 4
    assert len((recording.layout.logs / "generations.jsonl").read_text().splitlines()) == 4


def test_a_journal_that_never_rests_holds_nobody_up(tmp_path: Path) -> None:
    """The logs are written to where the journal was when they began, though more comes with each step."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    journal = make_journal(recording, ManualClock())
    journal.add_now(prompt("p", 1, "success"))

    class BusyDisk(Disk):
        steps = 0

        def step(self, what: str, path: Path) -> None:
            self.steps += 1
            assert self.steps < 1000, "held up"
            journal.add_now(prompt(f"p{self.steps}", 1, "success"))

    recorder = Recorder(recording.layout, disk=BusyDisk())
    recorder.log()
    assert "p" in (recording.layout.logs / "generations.jsonl").read_text()
    journal.close()


def test_its_memory_is_that_of_open_rows(tmp_path: Path) -> None:
    """After a hundred rounds it knows what is open and what is still in the journal, and nothing of the rest."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    recorder = Recorder(recording.layout)
    journal.add(session("open", 1, opened_ns=2))
    for number in range(100):
        journal.add(session(f"s{number}", number, opened_ns=number, closed_ns=number))
        journal.add(prompt(f"p{number}", number, "success"))
        journal.flush()
        clock.advance(1000)
        recorder.compact()
        recorder.sync()
    recorder.tidy()
    logs = recorder._logs
    assert {table: len(seen) for table, seen in logs._seen.items()} == {"sessions": 2, "prompts": 1}
    assert len(logs._tail.offsets) <= 4
    assert len(recorder._synced) <= 4
    assert len(recorder.compactor.manifest.consumed) == 2
    assert len(recorder.compactor.manifest.retired) < 200
    journal.close()

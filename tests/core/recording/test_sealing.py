"""The end of a recording: what is open is closed, and nothing changes after."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.recording.samples import (
    START_NS,
    FullDisk,
    as_dicts,
    event,
    make_journal,
    make_run,
    node,
    prompt,
    read,
    session,
)

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.lock import FileLock
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.recording.sealing import seal
from comfysoak_core.recording.start import seal_run


def a_run_with_open_rows(parent: Path) -> Recording:
    """One prompt, session and node that ended, and one each that did not."""
    clock = ManualClock(START_NS)
    recording = make_run(parent, clock)
    journal = make_journal(recording, clock)
    for row in (
        prompt("done", 10, "success"),
        prompt("open", 20, sent_ns=21),
        session("done", 10, opened_ns=11, closed_ns=30),
        session("open", 12, opened_ns=13),
        node("done", 10, ended_ns=12),
        node("open", 22),
        event(40),
    ):
        journal.add(row)
    journal.close()
    return recording


def test_open_rows_are_closed_at_the_end(tmp_path: Path) -> None:
    """A prompt becomes aborted without a code, sessions and nodes end with the run."""
    recording = a_run_with_open_rows(tmp_path)
    recording.seal("interrupted", 50, detail="Ctrl-C")
    assert read(recording, "prompts") == as_dicts(
        [prompt("done", 10, "success"), prompt("open", 20, "aborted", sent_ns=21, finished_ns=50)]
    )
    assert read(recording, "sessions") == as_dicts(
        [
            session("done", 10, opened_ns=11, closed_ns=30),
            session("open", 12, opened_ns=13, closed_ns=50, reason="run ended"),
        ]
    )
    assert read(recording, "nodes") == as_dicts([node("done", 10, ended_ns=12), node("open", 22, ended_ns=50)])
    ended = Recording.open(recording.path).run.ended
    assert ended is not None
    assert (ended.at_ns, ended.reason, ended.detail) == (50, EndReason.INTERRUPTED, "Ctrl-C")
    assert recording.run.segments[-1].ended_ns == 50
    assert recording.run.sealed


def test_a_row_never_ends_before_it_began(tmp_path: Path) -> None:
    """When the end of the run is told earlier than the last thing a row tells, the row ends then."""
    recording = a_run_with_open_rows(tmp_path)
    recording.seal("finished", 15)
    ends = {row["id"]: row["finished_ns"] for row in recording.table("prompts").to_pylist()}
    assert ends == {"done": 15, "open": 21}


def test_a_cut_off_run_ended_at_its_last_row(tmp_path: Path) -> None:
    """Where nobody says when it ended, the last moment in any table is it, and the reason is "cut off"."""
    recording = a_run_with_open_rows(tmp_path)
    assert recording.seal_if_cut_off()
    assert recording.run.ended is not None
    assert (recording.run.ended.at_ns, recording.run.ended.reason) == (START_NS, EndReason.CUT_OFF)
    later = make_run(tmp_path, ManualClock(START_NS))
    journal = make_journal(later, ManualClock())
    journal.add(session("s", START_NS + 5, opened_ns=START_NS + 77))
    journal.close()
    assert later.seal_if_cut_off()
    assert later.run.ended is not None
    assert later.run.ended.at_ns == START_NS + 77


def test_sealing_twice_changes_nothing(tmp_path: Path) -> None:
    """The first reason stays, and no file is touched."""
    recording = a_run_with_open_rows(tmp_path)
    recording.seal("finished", 50)
    before = {path: path.read_bytes() for path in recording.path.rglob("*") if path.is_file()}
    recording.seal("aborted", 60)
    assert not recording.seal_if_cut_off()
    assert {path: path.read_bytes() for path in recording.path.rglob("*") if path.is_file()} == before


def test_a_sealed_run_has_no_journal_left(tmp_path: Path) -> None:
    """Nothing but run.json, the locks, the tables and the logs remains."""
    recording = a_run_with_open_rows(tmp_path)
    (recording.layout.journal / ".h~p~events~000000.jsonl.new").write_text("half a header")
    recording.seal("finished", 50)
    names = sorted(path.name for path in recording.path.iterdir())
    assert names == ["logs", "recorder.lock", "run.json", "run.lock", "tables"]
    logs = sorted(path.name for path in recording.layout.logs.iterdir())
    assert logs == ["configuration.json", "connections.jsonl", "generations.jsonl"]


def test_a_recorder_at_work_is_waited_for_then_told(tmp_path: Path) -> None:
    """Two never move rows at once."""
    recording = a_run_with_open_rows(tmp_path)
    with FileLock(recording.layout.recorder_lock) as lock:
        assert lock.acquire()
        with pytest.raises(RecordingError, match="recorder is still at work"):
            seal(recording.path, EndReason.FINISHED, None, wait_s=0.0)
    seal(recording.path, EndReason.FINISHED, None, wait_s=0.0)


def test_a_producer_still_alive_is_a_fault_of_the_recording(tmp_path: Path) -> None:
    """Sealing does not wait for it, keeps what it wrote, and says so."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock, "stubborn")
    journal.add_now(event(1))
    recording.seal("finished", 5)
    assert recording.table("events").num_rows == 1
    assert len(recording.run.faults) == 1
    assert recording.run.faults[0].startswith("stubborn-")
    journal.close()


@pytest.mark.parametrize("kind", ["write", "rename", "append", "remove"])
def test_a_disk_that_refuses_is_told_and_can_be_tried_again(tmp_path: Path, kind: str) -> None:
    """Sealing fails with one clear error, loses nothing, and succeeds when there is room."""
    recording = a_run_with_open_rows(tmp_path)
    disk = FullDisk(kind)
    with pytest.raises(RecordingError, match="No space left"):
        seal(recording.path, EndReason.INTERRUPTED, 50, disk=disk)
    disk.full = False
    run = seal(recording.path, EndReason.FINISHED, 60, disk=disk)
    assert run.sealed
    assert {row["id"]: row["outcome"] for row in recording.table("prompts").to_pylist()} == {
        "done": "success",
        "open": "aborted",
    }
    if kind in ("remove", "append"):
        assert run.ended is not None
        assert run.ended.reason is EndReason.INTERRUPTED


def test_sealing_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Producers that must not load pyarrow let another process do it; a wrong directory gives exit code 3."""
    recording = a_run_with_open_rows(tmp_path)
    assert seal_run(recording.path, "aborted", 50, "a child died") == 0
    ended = recording.reload().ended
    assert ended is not None
    assert (ended.at_ns, ended.reason, ended.detail) == (50, EndReason.ABORTED, "a child died")
    command = [sys.executable, "-m", "comfysoak_core.recording.sealing", str(tmp_path), "finished"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 3
    assert "no run directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_amending_rows_are_settled_by_sealing(tmp_path: Path) -> None:
    """A row whose end was amended before the run ended counts once, by its last version."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    closed = session("s", 5, opened_ns=6, closed_ns=7)
    for row in (closed, replace(closed, reopened_as="t"), prompt("p", 1, "timeout"), prompt("p", 1)):
        journal.add_now(row)
    journal.close()
    recording.seal("finished", 50)
    assert read(recording, "sessions") == as_dicts([replace(closed, reopened_as="t")])
    assert read(recording, "prompts") == as_dicts([prompt("p", 1, "timeout")])

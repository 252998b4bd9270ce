"""What a worker machine could not deliver is added by hand, as often as one likes."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.recording.samples import START_NS, as_dicts, event, make_journal, make_run, prompt, read

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import RecordingError, UsageError
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.merging import merge
from comfysoak_core.recording.received import Received
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import write_run_file
from comfysoak_core.recording.transfer import Outbox
from comfysoak_core.rows import Event


def worker_folder(parent: Path, recording: Recording, clock: ManualClock) -> Path:
    """A worker's run directory: prompts and events over two stretches."""
    folder = parent / "comfysoak-worker-x"
    (folder / "journal").mkdir(parents=True)
    write_run_file(recording.run, folder / "run.json")
    journal = Journal(folder / "journal", host="gpu-2", process="load-1", clock=clock)
    journal.add(prompt("first", 10, "success"))
    journal.add(prompt("second", 20, sent_ns=21))
    for at_ns in range(30, 40):
        journal.add(event(at_ns))
        journal.flush()
    clock.advance(400)
    journal.add(prompt("second", 20, "success", sent_ns=21))
    journal.add(event(50))
    journal.close()
    return folder


def deliver(folder: Path, recording: Recording, up_to_bytes: int) -> None:
    """So many bytes of the worker's journal reach the master."""
    outbox, received = Outbox(piece_bytes=64), Received(recording.layout.journal, "gpu-2", left_free_bytes=0)
    outbox.see({path.name: path.stat().st_size for path in (folder / "journal").iterdir()})
    while up_to_bytes > 0 and (piece := outbox.next()) is not None:
        length = min(piece.length, up_to_bytes)
        data = (folder / "journal" / piece.name).read_bytes()[piece.offset : piece.offset + length]
        received.take(piece.name, piece.offset, data, zlib.crc32(data))
        outbox.heard(piece.name, piece.offset + length, again=True)
        up_to_bytes -= length


def told_once(recording: Recording) -> list[dict[str, object]]:
    """The events but those about the merging itself."""
    return [row for row in read(recording, "events") if row["kind"] != "machine_merged"]


@settings(max_examples=15)
@given(delivered=st.integers(0, 4000))
def test_wherever_the_transfer_was_cut_the_merged_recording_is_whole(
    delivered: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each row is there once, what had been closed as aborted has its true end, and merging again changes nothing."""
    parent = tmp_path_factory.mktemp("merge")
    clock = ManualClock(START_NS)
    recording = make_run(parent, clock)
    folder = worker_folder(parent, recording, clock)
    deliver(folder, recording, delivered)
    recording.seal("finished", 60)
    for _ in range(2):
        merge(recording.path, folder)
        merged = Recording.open(recording.path)
        assert merged.run.sealed
        assert merged.run.ended == recording.run.ended
        assert read(merged, "prompts") == as_dicts(
            [prompt("first", 10, "success"), prompt("second", 20, "success", sent_ns=21)]
        )
        assert told_once(merged) == as_dicts([*map(event, range(30, 40)), event(50)])
    shutil.rmtree(parent)


def test_a_run_that_was_cut_off_is_completed_and_sealed(tmp_path: Path) -> None:
    """Pieces that lie in its journal unread are no second copy of what is merged."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    folder = worker_folder(tmp_path, recording, clock)
    deliver(folder, recording, 900)
    assert merge(recording.path, folder) > 0
    merged = Recording.open(recording.path)
    assert merged.run.sealed
    assert told_once(merged) == as_dicts([*map(event, range(30, 40)), event(50)])


def test_only_what_belongs_to_the_run_is_merged(tmp_path: Path) -> None:
    """A folder of another run, an empty one, and a run that goes on are refused."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    folder = worker_folder(tmp_path, recording, clock)
    other = make_run(tmp_path / "other", clock)
    with pytest.raises(UsageError, match="another run"):
        merge(other.path, folder)
    journal = make_journal(recording, clock)
    journal.add_now(event(1))
    with pytest.raises(RecordingError, match="still going on"):
        merge(recording.path, folder)
    journal.close()
    shutil.rmtree(folder / "journal")
    with pytest.raises(UsageError, match="no journal"):
        merge(recording.path, folder)


def test_prompts_of_a_lost_worker_say_so(tmp_path: Path) -> None:
    """At sealing they are aborted with what was said of the loss; those of others only are aborted."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    journal.add(prompt("open", 20, sent_ns=21))
    journal.add(prompt("done", 20, "success"))
    journal.add(Event(at_ns=30, source="load-master", kind="worker_lost", subject="w1", detail="w1 is gone"))
    journal.close()
    recording.seal("finished", 60)
    ends = {row["id"]: (row["outcome"], row["finished_ns"], row["error_message"]) for row in read(recording, "prompts")}
    assert ends == {"open": ("aborted", 30, "its load process was lost: w1 is gone"), "done": ("success", 25, None)}

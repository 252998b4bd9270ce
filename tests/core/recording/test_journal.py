"""The journal: what producers write."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from tests.core.recording.samples import event, prompt

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import RecordingError
from comfysoak_core.recording import journal as journal_module
from comfysoak_core.recording.journal import Journal, Stretch, columns, read_batches, stretches
from comfysoak_core.recording.lock import is_held
from comfysoak_core.rows import Event

ROOT = Path(__file__).parents[3]


def a_journal(directory: Path, clock: ManualClock | None = None) -> Journal:
    """A journal in `directory`."""
    return Journal(directory, host="gpu 1", process="load/1", clock=clock or ManualClock())


def details(directory: Path) -> list[str]:
    """The details of all events in a journal directory, in order."""
    place = columns(Event).index("detail")
    found = [one for one in stretches(directory) if one.table == "events"]
    return [row[place] for stretch in found for batch in read_batches(stretch.path) for row in batch.rows]


def test_rows_are_there_after_flush(tmp_path: Path) -> None:
    """A flushed row is in the file while its writer still has it open."""
    journal = a_journal(tmp_path)
    journal.add(event(1, "a"))
    assert details(tmp_path) == []
    journal.flush()
    journal.add_now(event(2, "b"))
    assert details(tmp_path) == ["a", "b"]


def test_where_open_files_cannot_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the stretch has its name from the start, and all its rows."""
    monkeypatch.setattr(journal_module, "_RENAMES_OPEN_FILES", False)
    journal = a_journal(tmp_path)
    journal.add_now(event(1, "a"))
    assert details(tmp_path) == ["a"]
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == [stretches(tmp_path)[0].path.name]


def test_a_full_batch_is_written_by_itself(tmp_path: Path) -> None:
    """The row that fills a batch puts it on disk."""
    journal = a_journal(tmp_path)
    for number in range(journal_module.BATCH_ROWS):
        journal.add(event(number, str(number)))
    assert len(details(tmp_path)) == journal_module.BATCH_ROWS


def test_names_say_who_wrote(tmp_path: Path) -> None:
    """Host, process, table and sequence stand in the name, made safe for any file system."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1))
    (stretch,) = stretches(tmp_path)
    assert (stretch.host, stretch.table, stretch.sequence) == ("gpu-1", "events", 0)
    assert stretch.process.startswith(f"load-1-{os.getpid()}-")


def test_age_and_size_rotate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old or a large stretch is followed by the next."""
    clock = ManualClock()
    journal = a_journal(tmp_path, clock)
    journal.add_now(event(1, "a"))
    clock.advance(journal_module.ROTATE_NS / 1e9)
    journal.add_now(event(2, "b"))
    monkeypatch.setattr(journal_module, "ROTATE_BYTES", 1)
    journal.add_now(event(3, "c"))
    assert [stretch.sequence for stretch in stretches(tmp_path)] == [0, 1, 2]
    assert details(tmp_path) == ["a", "b", "c"]


def test_a_sequence_is_never_used_again(tmp_path: Path) -> None:
    """After close, and after the recorder took the stretch away, the next has the next number."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1))
    journal.close()
    (first,) = stretches(tmp_path)
    first.path.unlink()
    journal.add_now(event(2))
    (second,) = stretches(tmp_path)
    assert second.sequence == 1
    assert second.process == first.process


def test_two_journals_never_share_a_name(tmp_path: Path) -> None:
    """A process whose pid came round again does not continue the stretches of another."""
    for _ in range(20):
        journal = a_journal(tmp_path)
        journal.add_now(event(1))
        journal.close()
    assert len(stretches(tmp_path)) == 20


def test_a_living_writer_holds_its_stretch(tmp_path: Path) -> None:
    """The lock is there while the file is open and gone after."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1))
    (stretch,) = stretches(tmp_path)
    assert is_held(stretch.path)
    journal.close()
    assert not is_held(stretch.path)


def test_text_no_json_can_hold_stops_nothing(tmp_path: Path) -> None:
    """Half a surrogate pair becomes its escape, a number beyond 64 bits null; the rows beside them are whole."""
    journal = a_journal(tmp_path)
    journal.add(event(1, "good"))
    journal.add(event(2, "bad \udc80"))
    journal.add(replace(event(3, "huge"), at_ns=2**80))
    journal.flush()
    assert details(tmp_path) == ["good", "bad \\udc80", "huge"]
    assert journal.encoder.values_dropped == 2


def test_torn_and_foreign_lines_are_left_out(tmp_path: Path) -> None:
    """Half a line, rows of a wrong width and lines that are no rows do not hide the others."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1, "a"))
    (stretch,) = stretches(tmp_path)
    with stretch.path.open("ab") as file:
        file.write(b'[[1,"te\n{"a":1}\n[5]\n[[1,2]]\n\n\xff\xfe\n')
    journal.add_now(event(2, "b"))
    with stretch.path.open("ab") as file:
        file.write(b'[[3,"test","ph')
    assert details(tmp_path) == ["a", "b"]


def test_foreign_files_are_no_stretches(tmp_path: Path) -> None:
    """Only names of our form, of tables we know, are taken."""
    for name in (
        "notes.txt",
        "a~b~events~x.jsonl",
        "a~b~nothing~000000.jsonl",
        "a~b~events.jsonl",
        ".a~b~events~0.jsonl.new",
    ):
        (tmp_path / name).write_text("x")
    assert stretches(tmp_path) == []
    assert stretches(tmp_path / "missing") == []


@pytest.mark.parametrize("header", [b"\n", b"[]\n", b"{}\n", b"\xff\n", b'{"format": "x", "columns": []}\n'])
def test_a_damaged_header_is_an_error(tmp_path: Path, header: bytes) -> None:
    """A file that does not begin as a journal does is refused in one sentence."""
    path = tmp_path / "h~p~events~000000.jsonl"
    path.write_bytes(header)
    with pytest.raises(RecordingError, match="header of a journal"):
        list(read_batches(path))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A journal of a later version is not guessed at."""
    path = tmp_path / "h~p~events~000000.jsonl"
    path.write_bytes(orjson.dumps({"format": 2, "columns": []}) + b"\n")
    with pytest.raises(RecordingError, match="format 2"):
        list(read_batches(path))


def test_reading_goes_on_at_an_offset(tmp_path: Path) -> None:
    """The offset of a batch is where the next begins."""
    journal = a_journal(tmp_path)
    for number in range(3):
        journal.add_now(event(number, str(number)))
    (stretch,) = stretches(tmp_path)
    first, *rest = read_batches(stretch.path)
    assert [batch.rows for batch in read_batches(stretch.path, first.offset)] == [batch.rows for batch in rest]


def test_rows_wait_while_the_disk_refuses(tmp_path: Path) -> None:
    """Nothing is raised or lost when the folder is missing, and all is there when it is back."""
    folder = tmp_path / "journal"
    journal = Journal(folder, host="h", process="p", clock=ManualClock())
    for number in range(1200):
        journal.add(event(number, str(number)))
    journal.flush()
    assert journal.errors > 0
    folder.mkdir()
    journal.flush()
    assert details(folder) == [str(number) for number in range(1200)]
    assert journal.rows_dropped == 0


def test_a_refusing_disk_is_not_asked_at_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it refuses only flush tries again, one batch; what is too much is dropped, oldest first, and counted."""
    monkeypatch.setattr(journal_module, "HELD_ROWS", 1000)
    folder = tmp_path / "journal"
    journal = Journal(folder, host="h", process="p", clock=ManualClock())
    for number in range(3000):
        journal.add(event(number, str(number)))
    assert journal.errors == 1
    folder.mkdir()
    journal.flush()
    kept = details(folder)
    assert kept == [str(number) for number in range(3000 - len(kept), 3000)]
    assert 900 <= len(kept) <= 1000
    assert journal.rows_dropped == 3000 - len(kept)


FULL_DISK = """
import resource, sys
from pathlib import Path
from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.journal import Journal
from tests.core.recording.samples import event
for limit in [0, 20, *range(150, 370)]:
    folder = Path(sys.argv[1]) / str(limit)
    folder.mkdir()
    journal = Journal(folder, host="h", process="p", clock=ManualClock())
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for number in range(6):
        journal.add_now(event(number, str(number)))
    assert journal.errors, limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.flush()
    journal.close()
"""


def test_a_full_disk_tears_no_row(tmp_path: Path) -> None:
    """A disk that takes part of a line, at any byte of it, costs no row and doubles none."""
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    folders = list(tmp_path.iterdir())
    assert len(folders) == 222
    for folder in folders:
        assert details(folder) == [str(number) for number in range(6)], folder


def test_columns_are_in_the_order_of_the_row_type() -> None:
    """The header of a prompts stretch names the fields of Prompt."""
    assert columns(type(prompt("a", 1)))[:3] == ("id", "server", "worker")
    assert isinstance(Stretch.from_path(Path("h~p~prompts~000001.jsonl")), Stretch)

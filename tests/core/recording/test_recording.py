"""Run directories: made, opened, read while they run and after."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.recording.samples import (
    START_NS,
    as_dicts,
    event,
    gpu,
    make_journal,
    make_run,
    node,
    prompt,
    read,
    session,
)

from comfysoak_core.clock import ManualClock
from comfysoak_core.errors import RecordingError, UsageError
from comfysoak_core.recording import journal as journal_module
from comfysoak_core.recording.journal import columns
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import TABLES, Event

ROOT = Path(__file__).parents[3]


def test_a_run_directory_says_when_and_what(tmp_path: Path) -> None:
    """The name has time (UTC) and scenario; run.json, journal, tables and logs are there."""
    recording = Recording.create(
        tmp_path / "runs", "SDXL, vor dem Release!", clock=ManualClock(START_NS), plan={"name": "x"}, argv=["comfysoak"]
    )
    assert recording.path == tmp_path / "runs" / "20261118-110640-SDXL-vor-dem-Release-"
    assert sorted(path.name for path in recording.path.iterdir()) == [
        "journal",
        "logs",
        "run.json",
        "run.lock",
        "tables",
    ]
    again = Recording.open(recording.path)
    assert again.run == recording.run
    assert again.run.plan == {"name": "x"}
    assert again.run.segments[0].started_ns == START_NS


def test_two_runs_of_one_second_do_not_meet(tmp_path: Path) -> None:
    """The second gets a number, whoever comes first."""
    clock = ManualClock(START_NS)
    paths = [Recording.create(tmp_path, "x", clock=clock).path.name for _ in range(3)]
    assert paths == ["20261118-110640-x", "20261118-110640-x-2", "20261118-110640-x-3"]


def test_where_open_files_cannot_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the run is locked once it has its name."""
    monkeypatch.setattr("comfysoak_core.recording.recording._RENAMES_OPEN_FILES", False)
    recording = Recording.create(tmp_path, "x", clock=ManualClock(START_NS))
    assert Recording.open(recording.path).is_running()
    recording.release()
    assert not Recording.open(recording.path).is_running()


def test_runs_made_at_once_do_not_meet(tmp_path: Path) -> None:
    """Processes that make runs in the same second each get their own."""
    program = (
        "import sys; from pathlib import Path; from comfysoak_core.clock import ManualClock\n"
        "from comfysoak_core.recording.recording import Recording\n"
        "sys.stdin.readline()\n"
        "print([Recording.create(Path(sys.argv[1]), 'x', clock=ManualClock()).path.name for _ in range(20)][-1])"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for maker in makers:
        maker.stdin.write(b"\n")  # type: ignore[union-attr]  # a pipe was asked for
        maker.stdin.flush()  # type: ignore[union-attr]  # as above
    assert all(maker.communicate(timeout=30) and maker.returncode == 0 for maker in makers)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 60
    assert all((tmp_path / name / "run.json").exists() for name in names)


@pytest.mark.parametrize("where", ["file/below", "file", "/proc/nothing", "null\0byte"])
def test_a_folder_that_cannot_be_written_is_a_wrong_call(tmp_path: Path, where: str) -> None:
    """Exit code 2, one clear error, nothing half-made."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out DIR"):
        Recording.create(tmp_path / where, "x", clock=ManualClock())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When run.json cannot be written its folder goes again, and the parent if it was made for it."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("comfysoak_core.recording.recording.write_run_file", full)
    with pytest.raises(UsageError, match="No space left on device"):
        Recording.create(tmp_path / "runs", "x", clock=ManualClock())
    assert list(tmp_path.iterdir()) == []


def test_it_runs_while_its_maker_a_producer_or_the_recorder_lives(tmp_path: Path) -> None:
    """Each of them alone keeps a run alive; when all are gone it is cut off."""
    clock = ManualClock()
    recording = Recording.create(tmp_path, "x", clock=clock)
    other = Recording.open(recording.path)
    assert other.is_running()
    recording.release()
    assert not other.is_running()
    journal = make_journal(recording, clock)
    journal.add_now(event(1))
    assert other.is_running()
    assert not other.seal_if_cut_off()
    journal.close()
    assert not other.is_running()


def test_a_dead_maker_does_not_keep_a_run_alive(tmp_path: Path) -> None:
    """The kernel lets go of the lock of a process that was killed."""
    program = (
        "import os, sys; from pathlib import Path; from comfysoak_core.clock import ManualClock\n"
        "from comfysoak_core.recording.recording import Recording\n"
        "run = Recording.create(Path(sys.argv[1]), 'x', clock=ManualClock())\n"
        "assert Recording.open(run.path).is_running()\n"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, tmp_path], check=False, timeout=30)
    assert ended.returncode == -9
    (path,) = tmp_path.iterdir()
    assert not Recording.open(path).is_running()


def test_what_is_not_a_run_directory_is_refused(tmp_path: Path) -> None:
    """A folder, a file, nothing at all: one clear error."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(RecordingError):
            Recording.open(path)


def test_an_empty_recording_has_empty_tables(tmp_path: Path) -> None:
    """Every table is there with all its columns and no row, before and after sealing."""
    recording = make_run(tmp_path, ManualClock(START_NS))
    for _ in range(2):
        for name, row_type in TABLES.items():
            table = recording.table(name)
            assert table.num_rows == 0
            assert tuple(table.column_names) == journal_module.columns(row_type)
            assert sum(batch.num_rows for batch in recording.stream(name)) == 0
        recording.seal("finished")
    assert recording.run.ended is not None
    assert recording.run.ended.at_ns == START_NS


def test_an_unknown_table_is_refused(tmp_path: Path) -> None:
    """The error names the tables there are."""
    with pytest.raises(RecordingError, match="prompts, nodes"):
        make_run(tmp_path, ManualClock()).table("prompt")


def test_rows_are_the_same_running_cut_off_and_sealed(tmp_path: Path) -> None:
    """Types, nulls and order do not depend on where the rows lie."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    prompts = [
        prompt("a", 30, "success", number=1, queue_remaining=2**40, error_message="<b>ünï</b>\n\x00", outputs_ok=True),
        prompt("b", 10, "failed", number=-0.5, code="OOM"),
    ]
    gpus = [gpu(40 - at, f"GPU-{at % 2}", utilisation_ratio=at / 7, missing=None) for at in range(30)]
    for row in (*prompts, *gpus):
        journal.add(row)
    journal.flush()

    def look() -> None:
        assert read(recording, "prompts") == as_dicts(prompts)
        assert read(recording, "gpu") == as_dicts(gpus)
        assert recording.table("prompts")["scheduled_ns"].to_pylist() == [10, 30]
        assert recording.table("gpu")["at_ns"].to_pylist() == list(range(11, 41))
        assert recording.table("gpu", ["uuid"]).column_names == ["uuid"]

    look()
    clock.advance(1000)
    journal.add_now(event(1))
    Recorder(recording.layout).compact()
    look()
    journal.close()
    recording.seal("finished")
    look()


def test_a_stream_is_bounded_and_whole(tmp_path: Path) -> None:
    """Batches have at most the rows asked for, the columns asked for, and together all rows."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    for start in (0, 100, 200):
        for at in range(start, start + 100):
            journal.add(gpu(at))
        journal.flush()
        clock.advance(1000)
    Recorder(recording.layout).compact()
    batches = list(recording.stream("gpu", batch_rows=30, columns=["at_ns", "uuid"]))
    assert max(batch.num_rows for batch in batches) == 30
    assert {tuple(batch.schema.names) for batch in batches} == {("at_ns", "uuid")}
    assert [at for batch in batches for at in batch.column(0).to_pylist()] == list(range(300))


def test_a_newer_row_replaces_the_one_in_the_tables(tmp_path: Path) -> None:
    """A row amended after it went into Parquet counts once, by its last version; an open one changes nothing."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    closed = session("s", 5, opened_ns=6, closed_ns=7)
    journal.add_now(closed)
    journal.add_now(session("t", 5, opened_ns=6, closed_ns=7))
    clock.advance(1000)
    journal.add_now(session("u", 9))
    Recorder(recording.layout).compact()
    journal.add_now(replace(closed, reopened_as="u"))
    journal.add_now(session("t", 5))
    expected = [replace(closed, reopened_as="u"), session("t", 5, opened_ns=6, closed_ns=7), session("u", 9)]
    assert read(recording, "sessions") == as_dicts(expected)
    assert sum(batch.num_rows for batch in recording.stream("sessions", columns=["id"])) == 3
    Recorder(recording.layout).compact(everything=True)
    assert read(recording, "sessions") == as_dicts(expected)


def test_values_of_a_wrong_type_become_null(tmp_path: Path) -> None:
    """A hostile or foreign value costs itself, not its row and not its column."""
    recording = make_run(tmp_path, ManualClock())
    names = journal_module.columns(TABLES["nodes"])
    good = node("good", 3, steps=2.5, ended_ns=4)
    journal = make_journal(recording, ManualClock())
    journal.add_now(good)
    rows = [
        {**as_dicts([good])[0], "id": "bad", "steps": "many", "first_progress_ns": "soon", "node_class": {"a": 1}},
        {**as_dicts([good])[0], "id": "huge", "first_progress_ns": 2**64 - 1, "steps": True},
        {**as_dicts([good])[0], "id": ["no id"]},
    ]
    (stretch,) = journal_module.stretches(recording.layout.journal)
    with stretch.path.open("a") as file:
        file.write(json.dumps([[row[name] for name in names] for row in rows]) + "\n")
    found = {row["id"]: row for row in recording.table("nodes").to_pylist()}
    assert sorted(found) == ["bad", "good", "huge"]
    assert found["good"]["steps"] == 2.5
    assert (found["bad"]["steps"], found["bad"]["first_progress_ns"]) == (None, None)
    assert found["huge"]["first_progress_ns"] is None
    recording.seal("finished")
    assert {row["id"]: row for row in recording.table("nodes").to_pylist()} == found


def test_older_and_newer_columns_are_mapped_by_name(tmp_path: Path) -> None:
    """A stretch with fewer, more and reordered columns gives rows of today's columns."""
    recording = make_run(tmp_path, ManualClock())
    path = recording.layout.journal / "h~p~events~000000.jsonl"
    path.write_text('{"format":1,"columns":["kind","newer","at_ns"]}\n[["phase",1,7]]\n')
    expected = [{**dict.fromkeys(columns(Event)), "at_ns": 7, "kind": "phase"}]
    assert recording.table("events").to_pylist() == expected
    recording.seal("finished")
    assert recording.table("events").to_pylist() == expected


def test_an_older_parquet_file_is_read_with_nulls(tmp_path: Path) -> None:
    """A column that came later is null in files made before it, also beside newer rows."""
    import pyarrow.parquet as pq

    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    journal.add_now(event(1, "old"))
    journal.close()
    Recorder(recording.layout).compact(everything=True)
    (path,) = recording.layout.tables.glob("events/*.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["detail"]), path)
    make_journal(recording, clock).add_now(event(2, "new"))
    assert recording.table("events")["detail"].to_pylist() == [None, "new"]


def damage(path: Path) -> None:
    """Overwrite the middle of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 3] + b"\xde\xad" * 20 + data[-10:])


@pytest.mark.parametrize("how", ["damaged", "emptied", "missing"])
def test_a_damaged_table_is_one_clear_error(tmp_path: Path, how: str) -> None:
    """It names the file; the other tables are read all the same."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    journal.add_now(event(1))
    journal.add_now(gpu(1))
    journal.close()
    recording.seal("finished")
    (path,) = recording.layout.tables.glob("events/*.parquet")
    if how == "missing":
        path.unlink()
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        damage(path)
    with pytest.raises(RecordingError) as caught:
        recording.table("events")
    assert str(path) in str(caught.value)
    assert "manifest.json" in str(caught.value)
    assert recording.table("gpu").num_rows == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tables": {"events": 5}}', '{"format": 99}'])
def test_a_damaged_manifest_is_one_clear_error(tmp_path: Path, content: str) -> None:
    """No guess is made at what the tables were."""
    recording = make_run(tmp_path, ManualClock())
    recording.layout.manifest.write_text(content)
    with pytest.raises(RecordingError, match=r"manifest\.json"):
        recording.table("events")
    with pytest.raises(RecordingError, match=r"manifest\.json"):
        recording.seal("finished")


def test_a_damaged_stretch_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    """A stretch without its header costs its own rows; sealing says so and leaves it where it is."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    journal.add_now(event(1, "good"))
    journal.close()
    path = recording.layout.journal / "h~x~events~000000.jsonl"
    path.write_bytes(b"\0" * 4096 + b"\n")
    assert recording.table("events")["detail"].to_pylist() == ["good"]
    recording.seal("finished")
    assert recording.table("events")["detail"].to_pylist() == ["good"]
    assert recording.run.faults == ("h~x~events~000000.jsonl could not be read",)
    assert path.exists()


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """What is not ours is neither read nor deleted, wherever it lies."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    make_journal(recording, clock).add_now(event(1))
    Recorder(recording.layout).compact(everything=True)
    layout = Layout(recording.path)
    foreign = [
        layout.root / "notes.txt",
        layout.journal / "notes.txt",
        layout.tables / "events" / "mine.parquet",
        layout.tables / "mine" / "000001.parquet",
        layout.logs / "mine.log",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    recording.seal("finished")
    assert [path.read_text() for path in foreign] == ["mine"] * len(foreign)
    assert recording.table("events").num_rows == 1


def test_rows_that_move_while_they_are_read_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a recorder commits between the reading of the manifest and of the journal, both are read again."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    journal.add_now(event(1, "a"))
    clock.advance(1000)
    journal.add_now(event(2, "b"))
    moved: list[bool] = []

    def moving(directory: Path) -> list[journal_module.Stretch]:
        if not moved:
            moved.append(True)
            Recorder(recording.layout).compact()
        return journal_module.stretches(directory)

    monkeypatch.setattr("comfysoak_core.recording.reading.stretches", moving)
    assert recording.table("events")["detail"].to_pylist() == ["a", "b"]
    assert moved
    journal.close()


def test_a_reader_beside_a_busy_recorder_sees_every_row(tmp_path: Path) -> None:
    """While another process moves rows into tables and merges them, no read misses or doubles one."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    program = (
        "import sys; from pathlib import Path\n"
        "from comfysoak_core.recording import compaction\n"
        "from comfysoak_core.recording.layout import Layout\n"
        "from comfysoak_core.recording.recorder import Recorder\n"
        "compaction.MERGE_FILES = 3\n"
        "recorder = Recorder(Layout(Path(sys.argv[1])))\n"
        "print('ready', flush=True)\n"
        "while sys.stdin.readline():\n"
        "    recorder.compact(); recorder.tidy(); print('done', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, recording.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        for count in range(1, 41):
            journal.add(gpu(count))
            journal.add(prompt(f"p{count}", count, "success" if count % 3 else None))
            journal.flush()
            clock.advance(1000)
            other.stdin.write("go\n")
            other.stdin.flush()
            assert recording.table("gpu")["at_ns"].to_pylist() == list(range(1, count + 1))
            assert recording.table("prompts")["scheduled_ns"].to_pylist() == list(range(1, count + 1))
        other.stdin.close()
        other.wait(30)
    assert list(recording.layout.tables.glob("gpu/*.parquet"))


def test_the_documentation_reads_a_run_without_our_code(tmp_path: Path) -> None:
    """The lines of docs/recording.md give the rows that `Recording` gives."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    for number in range(3):
        journal.add(prompt(f"p{number}", number, "success"))
    journal.close()
    recording.seal("finished")
    text = (
        (ROOT / "docs" / "recording.md").read_text(encoding="utf-8").split("## In three lines")[1].split("With our")[0]
    )
    lines = [
        line.strip().replace("runs/20261122-101500-sdxl-before-release", str(recording.path))
        for line in text.splitlines()
    ]
    names: dict[str, Any] = {}
    exec("\n".join(line for line in lines if line), names)
    assert names["prompts"]["id"].tolist() == ["p0", "p1", "p2"]

"""Which files there are in `tables/`, and for how long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.core.recording.samples import START_NS, event, gpu, make_journal, make_run, prompt

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording import compaction
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import ROW_TYPES


def files(recording: Recording, table: str) -> list[str]:
    """The Parquet files of a table."""
    return sorted(path.name for path in (recording.layout.tables / table).glob("*.parquet"))


def a_run_of_stretches(parent: Path, count: int) -> tuple[Recording, Recorder]:
    """`count` stretches of events, each moved by itself."""
    clock = ManualClock(START_NS)
    recording = make_run(parent, clock)
    journal = make_journal(recording, clock)
    recorder = Recorder(recording.layout)
    for number in range(count + 1):
        journal.add_now(event(count - number, str(number)))
        clock.advance(1000)
        recorder.compact()
    journal.close()
    return recording, recorder


def test_stretches_go_when_their_rows_are_in_the_tables(tmp_path: Path) -> None:
    """Only the stretch still written to is left in the journal."""
    recording, _ = a_run_of_stretches(tmp_path, 3)
    assert len(list(recording.layout.journal.iterdir())) == 1
    assert len(files(recording, "events")) == 3


def test_small_files_are_merged_and_the_old_ones_go_a_round_later(tmp_path: Path) -> None:
    """A reader that has just opened them has until the next round."""
    recording, recorder = a_run_of_stretches(tmp_path, compaction.MERGE_FILES)
    small = files(recording, "events")
    recorder.tidy()
    (merged,) = set(files(recording, "events")) - set(small)
    assert set(files(recording, "events")) == {merged, *small}
    recorder.tidy()
    assert files(recording, "events") == [merged]
    assert recording.table("events").num_rows == compaction.MERGE_FILES + 1


def test_large_files_are_not_merged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is written again a few times at most, however long the run."""
    monkeypatch.setattr(compaction, "MERGED_ROWS", 10)
    recording, recorder = a_run_of_stretches(tmp_path, 40)
    recorder.tidy()
    before = files(recording, "events")
    recorder.tidy()
    recorder.tidy()
    rows = [pq.read_metadata(recording.layout.tables / "events" / name).num_rows for name in files(recording, "events")]
    assert max(rows) == 10
    assert len(before) > len(rows) > 3


def test_what_was_never_committed_goes_at_the_next_start(tmp_path: Path) -> None:
    """Files of ours that the manifest does not name are deleted, others stay."""
    recording, _ = a_run_of_stretches(tmp_path, 1)
    folder = recording.layout.tables / "events"
    for name in ("000099.parquet", ".000099.parquet.new", "open-000099.jsonl", ".open-000099.jsonl.new"):
        (folder / name).write_text("left by a killed recorder")
    Recorder(recording.layout)
    assert sorted(path.name for path in folder.iterdir()) == files(recording, "events")
    assert len(files(recording, "events")) == 1


def test_files_are_sorted_and_packed(tmp_path: Path) -> None:
    """Sorted by time, zstd, times as DELTA_BINARY_PACKED, the table's name in the file."""
    recording, recorder = a_run_of_stretches(tmp_path, compaction.MERGE_FILES)
    recorder.tidy()
    path = recording.layout.tables / "events" / files(recording, "events")[-1]
    assert pq.read_table(path)["at_ns"].to_pylist() == list(range(1, compaction.MERGE_FILES + 1))
    column = pq.read_metadata(path).row_group(0).column(0)
    assert (column.path_in_schema, column.compression) == ("at_ns", "ZSTD")
    assert "DELTA_BINARY_PACKED" in column.encodings
    assert pq.read_schema(path).metadata[b"comfysoak.table"] == b"events"


def test_open_rows_are_carried_and_then_written_once(tmp_path: Path) -> None:
    """A prompt that stays open over many rounds is in no Parquet file until it ends, and then in one."""
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    recorder = Recorder(recording.layout)
    begun = prompt("p", 1)
    journal.add_now(begun)
    for number in range(3):
        clock.advance(1000)
        journal.add_now(prompt(f"q{number}", 2, "success"))
        recorder.compact()
        state = json.loads(recording.layout.manifest.read_text())["tables"]["prompts"]
        assert state["open_rows"] == 1
        assert len(list((recording.layout.tables / "prompts").glob("open-*.jsonl"))) == 1
    journal.add_now(replace(begun, outcome="success"))
    recorder.compact(everything=True)
    ids = [row["id"] for name in files(recording, "prompts") for row in _rows(recording, name)]
    assert sorted(ids) == ["p", "q0", "q1", "q2"]
    assert not list((recording.layout.tables / "prompts").glob("open-*.jsonl"))
    journal.close()


def _rows(recording: Recording, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(recording.layout.tables / "prompts" / name).to_pylist()
    return rows


def test_a_long_journal_is_moved_in_bounded_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit takes no more journal than fits into memory."""
    monkeypatch.setattr(compaction, "GROUP_BYTES", 500)
    clock = ManualClock(START_NS)
    recording = make_run(tmp_path, clock)
    journal = make_journal(recording, clock)
    for number in range(10):
        journal.add_now(gpu(number))
        clock.advance(1000)
    journal.close()
    Recorder(recording.layout).compact(everything=True)
    assert len(files(recording, "gpu")) >= 5
    assert recording.table("gpu")["at_ns"].to_pylist() == list(range(10))


def test_every_column_of_every_table_has_an_arrow_type() -> None:
    """A new column of an unknown type is found here, not in the middle of a run."""
    from comfysoak_core.recording.journal import columns
    from comfysoak_core.recording.parquet import arrow_schema, to_table

    for row_type in ROW_TYPES:
        assert tuple(arrow_schema(row_type).names) == columns(row_type)
        assert to_table(row_type, []).num_rows == 0

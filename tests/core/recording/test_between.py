"""Rows of a few minutes out of a long recording: the right ones, and little else is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.planted.writing import write
from comfysoak_core.clock import ManualClock
from comfysoak_core.recording import parquet
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.reading import rows_of
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import RunFile
from comfysoak_core.rows import Event

S = 1_000_000_000
RUN = RunFile(id="0", name="between", created_ns=0, harness_version="0", python_version="3.11", argv=(), sealed=True)


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files of 1,000 seconds each, a reading a second, in groups of 100 rows."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
    batches = [{"at_ns": np.arange(first, first + 1000) * S, "host": "h", "cpu_ratio": 0.5} for first in (0, 1000)]
    return write(tmp_path / "run", RUN, {"host": batches})


def seconds(run: Path, *spans: tuple[int, int]) -> list[int]:
    """The seconds of the readings found in spans of seconds."""
    found = Recording.open(run).between("host", [(first * S, last * S) for first, last in spans], ("at_ns",))
    assert found.column_names == ["at_ns"]
    return [at // S for at in found["at_ns"].to_pylist()]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([(995, 1004)], list(range(995, 1005))),
        ([(30, 32), (31, 35), (1500, 1500)], [30, 31, 32, 33, 34, 35, 1500]),
        ([(5000, 6000)], []),
        ([], []),
    ],
)
def test_all_rows_of_the_spans_and_no_others(long: Path, spans: list[tuple[int, int]], expected: list[int]) -> None:
    """Across files, each once where spans overlap, none where there is none."""
    assert seconds(long, *spans) == expected


def test_only_groups_with_such_rows_are_read(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of three days must not cost three days."""
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, group: int, **more: object) -> object:
        read.append(group)
        return whole(file, group, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert len(seconds(long, (150, 250))) == 101
    assert read == [1, 2]


def test_a_file_of_an_older_version_lacks_columns_and_is_read(long: Path) -> None:
    """Text columns that came later are null, whichever way the rows are read."""
    for path in (long / "tables" / "host").iterdir():
        table = pq.read_table(path)
        pq.write_table(table.drop_columns(["missing"]), path)
    pieces = list(Recording.open(long).reader("host").pieces(("host", "missing")))
    assert sum(len(piece) for piece in pieces) == 2000
    assert {name for piece in pieces for name in piece["missing"].to_pylist()} == {None}


def test_rows_still_in_the_journal_are_found_too(long: Path) -> None:
    """Of a run in progress the last minutes are there and nowhere else."""
    journal = Journal(long / "journal", host="h", process="p", clock=ManualClock(0))
    for second in (10, 20):
        journal.add(Event(at_ns=second * S, source="s", kind="k"))
    journal.close()
    found = Recording.open(long).between("events", [(15 * S, 25 * S)])
    assert found["at_ns"].to_pylist() == [20 * S]
    assert "detail" in found.column_names


def test_each_column_of_a_group_is_read_once_whoever_asks(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read beside a pass over a table shares its columns, and groups far from the spans are not opened."""
    read: list[tuple[int, tuple[str, ...]]] = []
    whole = pq.ParquetFile.read_row_group

    def noted(file: pq.ParquetFile, group: int, columns: list[str], **more: object) -> object:
        read.append((group, tuple(columns)))
        return whole(file, group, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    reader = Recording.open(long).reader("host")
    beside: list[pa.Table] = []
    for group in reader.groups(near=[(150 * S, 250 * S)]):
        at_ns = group.table(("at_ns",))["at_ns"]
        beside += rows_of(group, ("at_ns", "cpu_ratio"), pc.equal(at_ns, 170 * S))
    assert [table.to_pylist() for table in beside] == [[{"at_ns": 170 * S, "cpu_ratio": 0.5}]]
    assert read == [(1, ("at_ns",)), (1, ("cpu_ratio",)), (2, ("at_ns",))]

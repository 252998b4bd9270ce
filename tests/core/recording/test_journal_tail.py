"""Following a journal while it is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.core.recording.samples import event, gpu, prompt

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.journal import ROTATE_NS, Journal, stretches
from comfysoak_core.recording.tail import Tail


def a_journal(directory: Path, clock: ManualClock | None = None, process: str = "p") -> Journal:
    """A journal in `directory`."""
    return Journal(directory, host="h", process=process, clock=clock or ManualClock())


def details(tail: Tail) -> list[Any]:
    """The details of the events of one poll."""
    return [row[new.columns.index("detail")] for new in tail.poll() if new.table == "events" for row in new.rows]


def test_each_poll_tells_what_is_new(tmp_path: Path) -> None:
    """Rows come once, in order, over rotations, from all processes."""
    clock = ManualClock()
    one, other = a_journal(tmp_path, clock), a_journal(tmp_path, clock, "q")
    tail = Tail(tmp_path)
    assert tail.poll() == []
    one.add_now(event(1, "a"))
    assert details(tail) == ["a"]
    assert tail.poll() == []
    clock.advance(ROTATE_NS / 1e9)
    one.add_now(event(2, "b"))
    other.add_now(event(3, "c"))
    assert details(tail) == ["b", "c"]


def test_a_poll_names_table_and_columns(tmp_path: Path) -> None:
    """A row comes with the name of its table and its columns, and only those asked for come."""
    journal = a_journal(tmp_path)
    journal.add_now(gpu(5, memory_used_bytes=7))
    journal.add_now(prompt("a", 1))
    ((table, columns, rows),) = Tail(tmp_path, tables=["gpu"]).poll()
    assert table == "gpu"
    assert dict(zip(columns, rows[0], strict=True))["memory_used_bytes"] == 7


def test_half_a_line_waits(tmp_path: Path) -> None:
    """A line that is being written is told when it is whole, a torn header too."""
    a_journal(tmp_path).add_now(event(1, "a"))
    (stretch,) = stretches(tmp_path)
    whole = stretch.path.read_bytes()
    tail = Tail(tmp_path)
    found = []
    for length in range(len(whole) + 1):
        stretch.path.write_bytes(whole[:length])
        found.append(details(tail))
    assert found == [[]] * len(whole) + [["a"]]


def test_a_poll_is_bounded(tmp_path: Path) -> None:
    """A long journal comes in pieces; a line longer than a piece comes whole."""
    journal = a_journal(tmp_path)
    for number in range(50):
        journal.add_now(event(number, f"{number}-" + "x" * 200))
    tail = Tail(tmp_path)
    pieces = []
    while new := tail.poll(max_bytes=100):
        pieces.append(sum(len(one.rows) for one in new))
    assert pieces == [1] * 50


def test_deleted_damaged_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    """They stop nothing, and a deleted one is forgotten."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1, "a"))
    (stretch,) = stretches(tmp_path)
    (tmp_path / "x~y~events~000000.jsonl").write_text("damaged\n[[1]]\n")
    (tmp_path / "x~y~events~000001.jsonl").mkdir()
    (tmp_path / "foreign.txt").write_text("x\n")
    tail = Tail(tmp_path)
    assert details(tail) == ["a"]
    stretch.path.unlink()
    assert tail.poll() == []
    assert stretch.path.name not in tail.offsets
    assert Tail(tmp_path / "missing").poll() == []


def test_another_goes_on_from_offsets(tmp_path: Path) -> None:
    """The offsets of one Tail are where the next begins."""
    journal = a_journal(tmp_path)
    journal.add_now(event(1, "a"))
    first = Tail(tmp_path)
    first.poll()
    journal.add_now(event(2, "b"))
    assert details(Tail(tmp_path, offsets=first.offsets)) == ["b"]


def test_the_live_view_loads_no_data_frames() -> None:
    """Journal, tail and the starting of a recorder need neither pyarrow nor pandas nor pydantic."""
    program = (
        "import sys, comfysoak_core.recording.tail, comfysoak_core.recording.journal, comfysoak_core.recording.start\n"
        "assert not {'pyarrow', 'pandas', 'pydantic', 'gevent'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_names_of_stretches_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Those that are not read, too: in a run of days thousands come and go."""
    tail = Tail(tmp_path, tables=("prompts",))
    for number in range(50):
        passing = tmp_path / f"h~p~gpu~{number:06d}.jsonl"
        passing.touch()
        tail.poll()
        passing.unlink()
    tail.poll()
    assert not tail._ignored  # what must not grow is seen from inside only

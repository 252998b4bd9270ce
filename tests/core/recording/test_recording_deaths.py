"""Whoever writes a recording may be killed between any two steps: nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.recording.samples import (
    START_NS,
    Died,
    DyingDisk,
    as_dicts,
    gpu,
    make_journal,
    make_run,
    prompt,
    read,
    session,
)

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording import compaction
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.recording.sealing import seal
from comfysoak_core.rows import Row

TABLES = ("prompts", "sessions", "gpu")  # two kinds of rows with an end, one without


class Story:
    """Rows come in four acts, the recorder works between them, and the run is sealed at the end."""

    def __init__(self, parent: Path) -> None:
        self.clock = ManualClock(START_NS)
        self.recording = make_run(parent, self.clock)
        self.journals = [make_journal(self.recording, self.clock, name) for name in ("load", "sampler")]
        self.expected: dict[str, dict[str, Row]] = {table: {} for table in TABLES}

    def acts(self) -> Iterator[None]:
        """Each act ends with all its rows on disk, and the next begins new stretches."""
        closed = session("s1", 5, opened_ns=6, closed_ns=30)
        acts: list[list[Row]] = [
            [prompt("p1", 1), prompt("p2", 2), session("s1", 5), gpu(1)],
            [prompt("p1", 1, "success"), session("s1", 5, opened_ns=6), session("s2", 7, opened_ns=8), gpu(2)],
            [closed, prompt("p3", 20, "not_sent"), gpu(3)],
            [replace(closed, reopened_as="s3"), session("s3", 31, opened_ns=32), prompt("p4", 33), gpu(4)],
        ]
        for act in acts:
            for row in act:
                self.add(self.journals[row.TABLE == "gpu"], row)
            for journal in self.journals:
                journal.flush()
            self.clock.advance(1000)
            yield
        for journal in self.journals:
            journal.close()

    def add(self, journal: Journal, row: Row) -> None:
        """Journal a row, and note it as the one that counts."""
        journal.add(row)
        key = getattr(row, "id", None) or f"row {len(self.expected[row.TABLE])}"
        self.expected[row.TABLE][key] = row

    def closed(self) -> dict[str, list[Row]]:
        """What is expected after sealing at 100."""
        ends: dict[str, dict[str, object]] = {
            "p2": {"outcome": "aborted", "finished_ns": 100},
            "p4": {"outcome": "aborted", "finished_ns": 100},
            "s2": {"closed_ns": 100, "reason": "run ended"},
            "s3": {"closed_ns": 100, "reason": "run ended"},
        }
        return {
            table: [replace(row, **ends.get(key, {})) for key, row in rows.items()]
            for table, rows in self.expected.items()
        }

    def check(self, expected: dict[str, list[Row]]) -> None:
        """The tables hold these rows, each once."""
        for table in TABLES:
            assert read(self.recording, table) == as_dicts(expected[table]), table

    def check_logs(self) -> None:
        """Each event is one line."""
        found: Counter[tuple[str, str]] = Counter()
        for name, key, what in (("connections", "connection", "event"), ("generations", "generation", "outcome")):
            for line in (self.recording.layout.logs / f"{name}.jsonl").read_text().splitlines():
                found[json.loads(line)[key], json.loads(line)[what]] += 1
        assert found == {
            **{(row_id, what): 1 for row_id in ("s1", "s2", "s3") for what in ("opened", "closed")},
            ("p1", "success"): 1,
            ("p2", "aborted"): 1,
            ("p3", "not_sent"): 1,
            ("p4", "aborted"): 1,
        }


def work(story: Story, disk: Disk) -> None:
    """One round of a recorder that was just started."""
    recorder = Recorder(story.recording.layout, disk=disk)
    recorder.log()
    recorder.sync()
    recorder.compact()
    recorder.tidy()


def survive(step: Callable[[Disk], object], disk: Disk, after_death: Callable[[], None]) -> int:
    """Do the step; when its process dies, look at what is left, and start it again. The number of deaths."""
    deaths = 0
    while True:
        try:
            step(disk)
        except Died:
            after_death()
            deaths += 1
        else:
            return deaths


def live_through(story: Story, disk: Disk) -> int:
    """The whole story on this disk; the number of deaths."""
    deaths = 0
    for _ in story.acts():
        flushed = {table: list(rows.values()) for table, rows in story.expected.items()}
        deaths += survive(lambda disk: work(story, disk), disk, lambda: story.check(flushed))  # noqa: B023  # used at once
    root = story.recording.path
    deaths += survive(lambda disk: seal(root, EndReason.FINISHED, 100, disk=disk), disk, lambda: None)
    story.recording = Recording.open(root)
    assert story.recording.run.sealed
    story.check(story.closed())
    story.check_logs()
    return deaths


def number_of_steps(parent: Path) -> int:
    """How many steps the story takes when nobody dies."""
    disk = DyingDisk(0)
    assert live_through(Story(parent), disk) == 0
    return disk.steps


@pytest.fixture(autouse=True)
def _merge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MERGE_FILES", 2)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfysoak_core.recording.disk.os.fsync", lambda _: None)


AGAIN = 31


@pytest.mark.parametrize("share", range(4))
def test_death_at_any_step(tmp_path: Path, share: int) -> None:
    """Killed before each step of recorder and sealing, or in the middle of an append, and started again each time."""
    for dies_at in range(1 + share, AGAIN + 1, 4):
        assert live_through(Story(tmp_path), DyingDisk(dies_at, AGAIN)) >= 5, dies_at


def test_one_death(tmp_path: Path) -> None:
    """Killed once, at every thirteenth step, and left in peace after."""
    steps = number_of_steps(tmp_path)
    assert steps > 5 * AGAIN
    for dies_at in range(1, steps + 1, 13):
        assert live_through(Story(tmp_path), DyingDisk(dies_at)) == 1, dies_at


def test_a_run_sealed_after_everything_died_at_once(tmp_path: Path) -> None:
    """Nobody is started again: the run is sealed as cut off from whatever state it was left in."""
    for dies_at in range(1, number_of_steps(tmp_path), 9):
        story, disk = Story(tmp_path), DyingDisk(dies_at)
        try:
            for _ in story.acts():
                work(story, disk)
        except Died:
            for journal in story.journals:
                journal.close()
            assert story.recording.seal_if_cut_off()
            assert {row["id"] for row in read(story.recording, "prompts")} == set(story.expected["prompts"])
            assert read(story.recording, "gpu") == as_dicts(story.expected["gpu"].values())
            assert not {None} & {row["outcome"] for row in read(story.recording, "prompts")}

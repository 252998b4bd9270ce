"""Any interleaving of writing, rotating, moving, dying and amending gives the plain list of rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.core.recording.samples import START_NS, Died, DyingDisk, as_dicts, gpu, make_journal, make_run, read, session

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording import compaction
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.recorder import Recorder
from comfysoak_core.rows import Gpu, Row, Session

DEATH = st.integers(min_value=1, max_value=60)


class _Writer:
    """A producer: its journal, and the rows it has taken but not flushed."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.unflushed: list[Row] = []


class AnyInterleaving(RuleBasedStateMachine):
    """The model: sessions by id (what has ended stays ended), GPU rows as a list, both only when flushed."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="comfysoak-")
        self.patches: list[Any] = [
            mock.patch.object(compaction, "MERGE_FILES", 2),
            mock.patch("comfysoak_core.recording.disk.os.fsync", return_value=None),
        ]
        for patch in self.patches:
            patch.start()
        self.clock = ManualClock(START_NS)
        self.recording = make_run(Path(self.folder.name), self.clock)
        self.recorder = Recorder(self.recording.layout)
        self.writers = [_Writer(self._journal()), _Writer(self._journal())]
        self.count = 0
        self.owner: dict[str, int] = {}
        self.latest: dict[str, Session] = {}
        self.sessions: dict[str, Session] = {}
        self.gpus: list[Gpu] = []

    def _journal(self) -> Journal:
        return make_journal(self.recording, self.clock)

    def _add(self, index: int, row: Row) -> None:
        self.writers[index].journal.add(row)
        self.writers[index].unflushed.append(row)

    @rule(index=st.integers(0, 1), ended=st.booleans())
    def new_session(self, index: int, ended: bool) -> None:
        self.count += 1
        row = session(f"s{self.count}", self.clock.now_ns() + self.count, closed_ns=1 if ended else None)
        self.owner[row.id], self.latest[row.id] = index, row
        self._add(index, row)

    @precondition(lambda self: self.owner)
    @rule(data=st.data(), changes=st.sampled_from([{"closed_ns": 7}, {"messages": 5}, {"closed_ns": 7, "messages": 6}]))
    def session_again(self, data: st.DataObject, changes: dict[str, Any]) -> None:
        row_id = data.draw(st.sampled_from(sorted(self.owner)))
        self.latest[row_id] = replace(self.latest[row_id], **changes)
        self._add(self.owner[row_id], self.latest[row_id])

    @rule(index=st.integers(0, 1))
    def new_gpu_row(self, index: int) -> None:
        self.count += 1
        self._add(index, gpu(self.count))

    @rule(index=st.integers(0, 1), rotate=st.booleans())
    def flush(self, index: int, rotate: bool) -> None:
        if rotate:
            self.clock.advance(1000)
        writer = self.writers[index]
        writer.journal.flush()
        for row in writer.unflushed:
            if isinstance(row, Gpu):
                self.gpus.append(row)
            elif isinstance(row, Session):
                before = self.sessions.get(row.id)
                if before is None or before.closed_ns is None or row.closed_ns is not None:
                    self.sessions[row.id] = row
        writer.unflushed.clear()

    @rule(index=st.integers(0, 1))
    def kill_writer(self, index: int) -> None:
        """What it had not flushed is gone; a new process takes over, with new sessions."""
        for table in self.writers[index].journal._tables.values():
            table.rows.clear()
            table.close()
        self.writers[index] = _Writer(self._journal())
        self.owner = {row_id: owner for row_id, owner in self.owner.items() if owner != index}

    @rule()
    def log(self) -> None:
        self.recorder.log()

    @rule()
    def compact(self) -> None:
        self.recorder.compact()

    @rule()
    def tidy(self) -> None:
        self.recorder.tidy()

    @rule(dies_at=DEATH)
    def recorder_dies(self, dies_at: int) -> None:
        """Another recorder takes over, dies somewhere in its work, and is followed by a third."""
        with _until_death(DyingDisk(dies_at)) as disk:
            recorder = Recorder(self.recording.layout, disk=disk)
            recorder.compact()
            recorder.tidy()
        self.recorder = Recorder(self.recording.layout)

    @invariant()
    def nothing_lost_nothing_doubled(self) -> None:
        if self.count % 3 == 0:  # reading at every step would be most of the work
            self._check()

    def _check(self) -> None:
        assert read(self.recording, "sessions") == as_dicts(self.sessions.values())
        assert read(self.recording, "gpu") == as_dicts(self.gpus)
        streamed = [row["at_ns"] for batch in self.recording.stream("gpu") for row in batch.to_pylist()]
        assert sorted(streamed) == sorted(row.at_ns for row in self.gpus)

    def teardown(self) -> None:
        if not hasattr(self, "recording"):
            return
        try:
            self._check()
            for writer in self.writers:
                for table in writer.journal._tables.values():
                    table.rows.clear()
                writer.journal.close()
            self.recording.seal("finished", 10**19 // 2)
            closed = [
                row if row.closed_ns is not None else replace(row, closed_ns=10**19 // 2, reason="run ended")
                for row in self.sessions.values()
            ]
            assert read(self.recording, "sessions") == as_dicts(closed)
            assert read(self.recording, "gpu") == as_dicts(self.gpus)
            lines = (self.recording.layout.logs / "connections.jsonl").read_text().splitlines() if closed else []
            assert len(lines) == len(closed)
        finally:
            for patch in self.patches:
                patch.stop()
            self.folder.cleanup()


@contextmanager
def _until_death(disk: Disk) -> Iterator[Disk]:
    with suppress(Died):
        yield disk


AnyInterleaving.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyInterleaving = AnyInterleaving.TestCase

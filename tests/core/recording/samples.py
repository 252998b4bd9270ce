"""Rows to record, and disks that die, for the tests of the recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comfysoak_core.clock import ManualClock
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Event, Gpu, NodeRun, Prompt, Row, Session

START_NS = 1_795_000_000_000_000_000


def prompt(row_id: str, at_ns: int, outcome: str | None = None, **values: Any) -> Prompt:
    """A prompt, ended when it has an outcome."""
    if outcome is not None:
        values.setdefault("finished_ns", at_ns + 5)
    return Prompt(
        id=row_id, server="http://gpu-1:8188", worker="w1", client_id="c1", workflow="sdxl", scheduled_ns=at_ns,
        outcome=outcome, **values,
    )  # fmt: skip


def session(row_id: str, at_ns: int, **values: Any) -> Session:
    """A socket of a user."""
    return Session(
        id=row_id, server="http://gpu-1:8188", worker="w1", role="user", client_id="c1", opening_ns=at_ns, **values
    )


def node(row_id: str, at_ns: int, **values: Any) -> NodeRun:
    """A node's execution."""
    return NodeRun(
        id=row_id, prompt_id="p", node_id="3", server="http://gpu-1:8188", workflow="sdxl", started_ns=at_ns, **values
    )


def gpu(at_ns: int, uuid: str = "GPU-0", **values: Any) -> Gpu:
    """A GPU at one moment."""
    return Gpu(at_ns=at_ns, read_cost_ns=1000, host="h", source="nvml", uuid=uuid, **values)


def event(at_ns: int, detail: str = "") -> Event:
    """Something that happened."""
    return Event(at_ns=at_ns, source="test", kind="phase", detail=detail)


def make_run(parent: Path, clock: ManualClock) -> Recording:
    """A run directory nobody stands for any more."""
    recording = Recording.create(parent, "test", clock=clock)
    recording.release()
    return recording


def make_journal(recording: Recording, clock: ManualClock, process: str = "load") -> Journal:
    """A producer's journal."""
    return Journal(recording.layout.journal, host="h", process=process, clock=clock)


def as_dicts(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows as Parquet gives them back, sorted by all they have."""
    return canonical(asdict(row) for row in rows)


def canonical(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows in an order that does not depend on how they came."""
    return sorted(rows, key=repr)


def read(recording: Recording, table: str) -> list[dict[str, Any]]:
    """A table as `as_dicts` gives rows."""
    return canonical(recording.table(table).to_pylist())


class Died(BaseException):
    """The process was killed: nothing catches this."""


class DyingDisk(Disk):
    """A disk whose process is killed at the n-th step, and every `again` steps after: before it, or in an append."""

    def __init__(self, dies_at: int, again: int = 0) -> None:
        self.steps = 0
        self._dies_at = dies_at
        self._again = again

    def step(self, what: str, path: Path) -> None:
        """Count, and die when it is time."""
        self.steps += 1
        if self.steps == self._dies_at:
            self._dies_at += self._again
            self.die()

    def die(self) -> None:
        """The end."""
        raise Died

    def append(self, path: Path, data: bytes) -> None:
        """Half of the data is there when it dies."""
        if self.steps + 1 == self._dies_at:
            with path.open("ab") as file:
                file.write(data[: len(data) // 2])
        super().append(path, data)


class FullDisk(Disk):
    """A disk that refuses every step of one kind while `full`."""

    def __init__(self, kind: str) -> None:
        self.full = True
        self._kind = kind

    def step(self, what: str, path: Path) -> None:
        """Refuse."""
        if self.full and what == self._kind:
            raise OSError(28, "No space left on device", str(path))

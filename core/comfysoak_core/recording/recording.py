"""A run directory: made, read, and sealed."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.errors import RecordingError, UsageError
from comfysoak_core.recording.journal import safe_name
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.lock import FileLock, is_held
from comfysoak_core.recording.run_file import (
    Ended,
    EndReason,
    HostFacts,
    RunFile,
    Segment,
    read_run_file,
    write_run_file,
)
from comfysoak_core.recording.stretch import stretches

if TYPE_CHECKING:
    import pyarrow as pa

    from comfysoak_core.recording.reading import TableReader

BATCH_ROWS = 100_000
_NAME_LENGTH = 60
_RENAMES_OPEN_FILES = os.name != "nt"


class Recording:
    """A run directory. `path` is the directory, `run` what stands in its run.json.

    pyarrow is imported by `table`, `stream` and `seal` only.
    """

    def __init__(self, path: Path, run: RunFile) -> None:
        self.path = path
        self.layout = Layout(path)
        self.run = run
        self._lock: FileLock | None = None

    @classmethod
    def create(
        cls,
        parent: Path,
        name: str,
        *,
        clock: Clock,
        plan: Mapping[str, Any] | None = None,
        argv: Sequence[str] = (),
        hosts: Iterable[HostFacts] = (),
    ) -> Self:
        """Make `parent/YYYYMMDD-HHMMSS-name` (UTC; `-2` and so on when taken) with run.json, journal, tables, logs.

        It counts as running as long as this process lives and neither `release` nor `seal` was called.
        Raises UsageError, with nothing left behind, when the folder cannot be written.
        """
        now_ns = clock.now_ns()
        run = RunFile(
            id=str(uuid.uuid4()),
            name=name,
            created_ns=now_ns,
            harness_version=_harness_version(),
            python_version=platform.python_version(),
            argv=tuple(argv),
            segments=(Segment(started_ns=now_ns),),
            plan=dict(plan or {}),
            hosts=tuple(hosts),
        )
        try:
            return cls._make(parent, f"{_stamp(now_ns)}-{safe_name(name)[:_NAME_LENGTH]}", run)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise UsageError(
                f"a run directory cannot be made in {str(parent)!r}: {getattr(error, 'strerror', None) or error}",
                "Name a folder you may write to, with space left: --out DIR",
            ) from error

    @classmethod
    def _make(cls, parent: Path, stem: str, run: RunFile) -> Self:
        """Fill a hidden folder, then give it its name in one step: no half-made run is ever seen."""
        parent_is_ours = not parent.exists()
        parent.mkdir(parents=True, exist_ok=True)
        hidden = parent / f".{stem}.{uuid.uuid4().hex[:8]}"
        lock = FileLock(Layout(hidden).run_lock)
        try:
            hidden.mkdir()
            for folder in (Layout(hidden).journal, Layout(hidden).tables, Layout(hidden).logs):
                folder.mkdir()
            if _RENAMES_OPEN_FILES:  # else the lock must wait until the folder has its name
                lock.acquire()
            write_run_file(run, Layout(hidden).run_json)
            recording = cls(_rename_to_free_name(hidden, parent, stem), run)
        except OSError:
            lock.release()
            shutil.rmtree(hidden, ignore_errors=True)
            if parent_is_ours:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            raise
        if not _RENAMES_OPEN_FILES:
            lock = FileLock(recording.layout.run_lock)
            lock.acquire()
        recording._lock = lock
        return recording

    @classmethod
    def open(cls, path: Path) -> Self:
        """The recording in the directory `path`, running, cut off or sealed.

        Raises RecordingError when it is no run directory, its format is newer, run.json is damaged, or a sealed one
        has lost the manifest of its tables: without it they would read as empty.
        """
        layout = Layout(path)
        run = read_run_file(layout.run_json)
        if run.sealed and not layout.manifest.exists() and any(layout.tables.glob("*/*.parquet")):
            raise RecordingError(f"{layout.manifest} is missing, so nobody knows which tables count",
                                 "Restore it from a copy of the run directory.")  # fmt: skip
        return cls(path, run)

    def reload(self) -> RunFile:
        """Read run.json again."""
        self.run = read_run_file(self.layout.run_json)
        return self.run

    def save(self, run: RunFile) -> None:
        """Put `run` into run.json, all or nothing; for the one process that made the recording."""
        write_run_file(run, self.layout.run_json)
        self.run = run

    def release(self) -> None:
        """From now on this process no longer stands for the run being alive."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def is_running(self) -> bool:
        """Whether a living process still writes: the one that made it, the recorder, or a producer of rows."""
        if self.run.sealed:
            return False
        locks = (self.layout.run_lock, self.layout.recorder_lock)
        return any(map(is_held, locks)) or any(is_held(stretch.path) for stretch in stretches(self.layout.journal))

    def seal(self, reason: EndReason | str, at_ns: int | None = None, detail: str = "") -> None:
        """End the recording: all rows into the tables, what is open closed, logs completed, `ended` set.

        `at_ns` is when the run ended; None: at its last row. Does nothing when sealed already; goes on where an
        earlier call was killed, keeping its reason. The producers and the recorder must have ended: raises
        RecordingError when the recorder still works after 5 s, or the disk refuses.
        """
        from comfysoak_core.recording.sealing import seal

        self.run = seal(self.path, EndReason(reason), at_ns, detail)
        self.release()

    def seal_if_cut_off(self) -> bool:
        """Seal with reason "cut off" a run that nobody writes to any more; True when that was done."""
        if self.run.sealed or self.is_running():
            return False
        ended = self.run.ended or Ended(at_ns=0, reason=EndReason.CUT_OFF)
        self.seal(ended.reason, ended.at_ns or None, ended.detail)
        return True

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of one table, sorted by its `ORDERED_BY`; of rows with one id the last.

        Works on running, cut-off and sealed recordings alike. Raises RecordingError for a damaged file.
        """
        from comfysoak_core.recording.reading import read_table

        return read_table(self.path, name, columns)

    def stream(
        self, name: str, batch_rows: int = BATCH_ROWS, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one table in batches, in memory that does not grow with the recording.

        Sorted by `ORDERED_BY` within each file; files follow each other in time, but may overlap by as long as
        one row lasts. The rows that are still in the journal come last.
        """
        from comfysoak_core.recording.reading import stream_table

        return stream_table(self.path, name, batch_rows, columns)

    def between(self, name: str, spans: Iterable[tuple[int, int]], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one table whose `ORDERED_BY` lies in one of `spans` (first and last ns), in order per file.

        Reads little of a long recording: the manifest and the statistics of row groups tell where they can be.
        """
        from comfysoak_core.recording.reading import read_between

        return read_between(self.path, name, spans, columns)

    def reader(self, name: str) -> TableReader:
        """One table as of now, to be read several times in pieces."""
        from comfysoak_core.recording.reading import TableReader

        return TableReader(self.path, name)


def _rename_to_free_name(hidden: Path, parent: Path, stem: str) -> Path:
    for number in range(1, 1000):
        target = parent / (stem if number == 1 else f"{stem}-{number}")
        if target.exists():
            continue
        try:
            os.rename(hidden, target)  # noqa: PTH104  # of two that come in the same second one fails: it is not empty
        except OSError:
            if not target.exists():
                raise
            continue
        return target
    raise OSError(f"{stem} and 999 names like it are taken")


def _stamp(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y%m%d-%H%M%S")


def _harness_version() -> str:
    try:
        return version("comfysoak")
    except PackageNotFoundError:
        return ""

"""The logs of a run, written while it runs: each event is one line, also when the writer is killed and started again.

`logs/progress.json` says how far the journal was logged and how long each log was then. Who starts again cuts the
logs to those lengths and goes on from there; what it must know of rows logged before is in the journal still, or
in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording import log_lines
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.gathering import Gathered
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.manifest import Manifest
from comfysoak_core.recording.redaction import redact_json
from comfysoak_core.recording.run_file import RunFile
from comfysoak_core.recording.stretch import read_batches, stretches
from comfysoak_core.recording.tail import NewRows, Tail
from comfysoak_core.rows import TABLES, Prompt, Row, Session

PROGRESS_FORMAT = 1
STEP_BYTES = 1024 * 1024
LOG_NAMES = {Session.TABLE: "connections.jsonl", Prompt.TABLE: "generations.jsonl"}

# Which of some ids, each with the ORDERED_BY of its row, stand in the tables: those were logged long ago.
Written = Callable[[type[Row], Mapping[str, int]], Iterable[str]]


class _Seen(IntEnum):
    """How much of a row's life is in the log."""

    BEGUN = 0
    OPENED = 1
    ENDED = 2


class Logs:
    """Appends to the logs what comes new in the journal. The owner holds the recorder's lock.

    Make one after the tables are cleaned and before any stretch is consumed.
    """

    def __init__(self, layout: Layout, manifest: Manifest, written: Written, disk: Disk | None = None) -> None:
        self._layout = layout
        self._disk = disk or Disk()
        self._written = written
        self._seen: dict[str, dict[str, _Seen]] = {table: {} for table in LOG_NAMES}
        offsets, self._lengths = self._begin()
        self._tail = Tail(layout.journal, tables=LOG_NAMES, offsets=offsets)
        self._recall(manifest, offsets)
        self._save_progress(offsets)  # before the first line, so that whoever starts again knows where that began

    def step(self) -> bool:
        """Log what is new, a bounded piece of journal; True when there was more than that. Raises OSError.

        True is not "something came meanwhile": a journal that is written faster than this must not hold us here.
        """
        found = self._tail.poll(STEP_BYTES)
        for table, name in LOG_NAMES.items():
            lines = b"".join(self._lines(table, [new for new in found if new.table == table]))
            if lines:
                self._disk.append(self._layout.logs / name, lines)
                self._lengths[name] += len(lines)
        if found:
            self._save_progress(self._tail.offsets)
        return self._tail.is_behind

    def forget(self, gathered: Gathered) -> None:
        """Rows that moved into the tables: what is asked about them from now on is asked there."""
        seen = self._seen.get(gathered.row_type.TABLE)
        if seen is not None:
            still_open = {row[0] for row in gathered.open_rows()}  # `id` is their first column
            for row_id in gathered.by_id.keys() - still_open:
                seen.pop(row_id, None)

    def _lines(self, table: str, found: list[NewRows]) -> list[bytes]:
        rows = [dict(zip(new.columns, row, strict=True)) for new in found for row in new.rows]
        rows = [row for row in rows if isinstance(row.get("id"), str)]
        self._recall_from_tables(table, rows)
        lines: list[bytes] = []
        for row in rows:
            lines += self._advance(table, row)
        return lines

    def _advance(self, table: str, row: log_lines.RowByName) -> list[bytes]:
        """The lines a row gives that were not given before."""
        seen, row_id = self._seen[table], str(row["id"])
        before, now = seen.get(row_id, _Seen.BEGUN), _stage(table, row)
        if before >= now:
            seen.setdefault(row_id, before)
            return []
        seen[row_id] = now
        if table == Prompt.TABLE:
            return [log_lines.generation_line(row)]
        opened = row.get("opened_ns") is not None and before < _Seen.OPENED
        lines = [log_lines.opened_line(row)] if opened else []
        return [*lines, log_lines.closed_line(row)] if now is _Seen.ENDED else lines

    def _recall_from_tables(self, table: str, rows: list[dict[str, Any]]) -> None:
        """Mark as ended what is in the tables: a row that only amends one of those is no new event."""
        row_type, seen = TABLES[table], self._seen[table]
        unknown = [row for row in rows if row["id"] not in seen and isinstance(row.get(row_type.ORDERED_BY), int)]
        asked = {row["id"]: row[row_type.ORDERED_BY] for row in unknown}
        if asked:
            for row_id in self._written(row_type, asked):
                seen[row_id] = _Seen.ENDED

    def _recall(self, manifest: Manifest, offsets: Mapping[str, int]) -> None:
        """Read again what was logged before: rows still open, and the stretches that are still there."""
        for table in LOG_NAMES:
            open_file = manifest.state(table).open_file
            if open_file:
                self._recall_file(table, self._layout.tables / open_file, None)
        for stretch in stretches(self._layout.journal):
            until = offsets.get(stretch.path.name, 0)
            if stretch.table in LOG_NAMES and until:
                self._recall_file(stretch.table, stretch.path, until)

    def _recall_file(self, table: str, path: Path, until: int | None) -> None:
        seen = self._seen[table]
        try:
            for batch in read_batches(path):
                if until is not None and batch.offset > until:
                    return
                for values in batch.rows:
                    row = dict(zip(batch.columns, values, strict=True))
                    row_id = str(row.get("id"))
                    seen[row_id] = max(seen.get(row_id, _Seen.BEGUN), _stage(table, row))
        except RecordingError:
            return  # a damaged stretch was not logged either

    def _begin(self) -> tuple[dict[str, int], dict[str, int]]:
        """Offsets in the journal and lengths of the logs, as they were when both were last known to agree."""
        self._disk.make_directory(self._layout.logs)
        offsets, lengths = self._load_progress()
        for name in LOG_NAMES.values():
            path = self._layout.logs / name
            self._disk.truncate(path, lengths.get(name, _size(path)))
            lengths[name] = _size(path)
        return offsets, lengths

    def _load_progress(self) -> tuple[dict[str, int], dict[str, int]]:
        try:
            data = json.loads(self._layout.progress.read_bytes())
            return (
                {str(name): int(offset) for name, offset in data["offsets"].items()},
                {str(name): int(length) for name, length in data["lengths"].items()},
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}, {}

    def _save_progress(self, offsets: Mapping[str, int]) -> None:
        data = {"format": PROGRESS_FORMAT, "offsets": offsets, "lengths": self._lengths}
        self._disk.replace(self._layout.progress, json.dumps(data).encode())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _stage(table: str, row: log_lines.RowByName) -> _Seen:
    ended_by = TABLES[table].ENDED_BY
    if ended_by is not None and row.get(ended_by) is not None:
        return _Seen.ENDED
    return _Seen.OPENED if table == Session.TABLE and row.get("opened_ns") is not None else _Seen.BEGUN


def write_configuration(run: RunFile, layout: Layout, disk: Disk | None = None) -> None:
    """`logs/configuration.json`: what this run was made of, secrets taken out. Raises OSError."""
    configuration = {
        "run": run.id,
        "name": run.name,
        "created": log_lines.iso_time(run.created_ns),
        "harness_version": run.harness_version,
        "python_version": run.python_version,
        "command": run.argv,
        "hosts": [host.model_dump(mode="json") for host in run.hosts],
        "gpus": [gpu.model_dump(mode="json") for gpu in run.gpus],
        "servers": [server.model_dump(mode="json") for server in run.servers],
        "plan": run.plan,
    }
    text = json.dumps(redact_json(configuration), indent=1, ensure_ascii=False)
    (disk or Disk()).replace(layout.logs / "configuration.json", text.encode("utf-8", "backslashreplace") + b"\n")

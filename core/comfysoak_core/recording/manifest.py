"""tables/manifest.json: which files are the recording. Replacing it is the one moment at which rows move.

A row is in the tables when the manifest names its file, and no longer in the journal when the manifest says that
its stretch is consumed; both change in one rename. Files the manifest does not name do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from comfysoak_core.errors import RecordingError
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.stretch import Stretch

MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TableFile:
    """One Parquet file. Its rows lie between `first_ns` and `last_ns` by their `ORDERED_BY`."""

    name: str  # relative to tables/
    rows: int
    bytes: int
    first_ns: int
    last_ns: int
    latest_ns: int  # the latest moment in any of its rows


@dataclass(frozen=True, slots=True)
class TableState:
    """The files of one table; `open_file` holds, as a stretch of journal does, the rows that have not ended."""

    files: tuple[TableFile, ...] = ()
    open_file: str | None = None
    open_rows: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """`generation` counts the commits.

    `consumed` is the highest sequence taken of each HOST~PROCESS~TABLE, `consumed_bytes` how long that stretch was:
    one that came from another machine may go on there.
    """

    generation: int = 0
    tables: Mapping[str, TableState] = field(default_factory=dict)
    consumed: Mapping[str, int] = field(default_factory=dict)
    consumed_bytes: Mapping[str, int] = field(default_factory=dict)
    retired: tuple[str, ...] = ()  # files whose rows were merged into others: readers may still have them open
    damaged: tuple[str, ...] = ()  # stretches that could not be read, left where they are

    def state(self, table: str) -> TableState:
        """The files of a table, also of one that has none yet."""
        return self.tables.get(table, TableState())

    def is_consumed(self, stretch: Stretch) -> bool:
        """Whether the rows of a stretch are in the tables, or it is known to be beyond reading."""
        return stretch.path.name in self.damaged or stretch.sequence <= self.consumed.get(owner(stretch), -1)

    def unconsumed(self, found: Iterable[Stretch]) -> list[Stretch]:
        """Of some stretches those whose rows are not in the tables yet."""
        return [stretch for stretch in found if not self.is_consumed(stretch)]

    def names(self) -> set[str]:
        """All files the manifest knows, relative to tables/."""
        known = {file.name for state in self.tables.values() for file in state.files}
        return known | {state.open_file for state in self.tables.values() if state.open_file} | set(self.retired)

    def latest_ns(self) -> int:
        """The latest moment in any row of the Parquet files; 0 when there is none."""
        return max((file.latest_ns for state in self.tables.values() for file in state.files), default=0)

    def with_table(self, table: str, state: TableState) -> Manifest:
        """The next generation, in which `table` has other files; those it no longer has are retired."""
        kept = {file.name for file in state.files}
        retired = tuple(file.name for file in self.state(table).files if file.name not in kept)
        return replace(
            self,
            generation=self.generation + 1,
            tables={**self.tables, table: state},
            retired=self.retired + retired,
        )

    def having_consumed(self, taken: Mapping[Stretch, int]) -> Manifest:
        """The same, with these stretches, each so many bytes long, consumed."""
        consumed, consumed_bytes = dict(self.consumed), dict(self.consumed_bytes)
        for stretch, size in taken.items():
            if stretch.sequence > consumed.get(owner(stretch), -1):
                consumed[owner(stretch)], consumed_bytes[owner(stretch)] = stretch.sequence, size
        return replace(self, consumed=consumed, consumed_bytes=consumed_bytes)


def owner(stretch: Stretch) -> str:
    """What all stretches of one process and table share: the key of `Manifest.consumed`."""
    return f"{stretch.host}~{stretch.process}~{stretch.table}"


def load_manifest(path: Path) -> Manifest:
    """The manifest at `path`, an empty one when there is none yet. Raises RecordingError when it cannot be read."""
    try:
        data = json.loads(path.read_bytes())
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > MANIFEST_FORMAT:
            raise RecordingError(
                f"{path} has format {data['format']}, this version of ComfySoak reads up to {MANIFEST_FORMAT}",
                "Read this recording with the version of ComfySoak that made it, or a newer one.",
            )
        return _from_json(data)
    except (FileNotFoundError, NotADirectoryError):
        return Manifest()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}", "Check its permissions.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(
            f"{path} is damaged: it is no manifest of tables", "Restore it from a copy of the run directory."
        ) from error


def save_manifest(manifest: Manifest, path: Path, disk: Disk) -> None:
    """Commit: put the manifest in the place of the one before."""
    data = {"format": MANIFEST_FORMAT, **asdict(manifest)}
    disk.replace(path, json.dumps(data, indent=1).encode() + b"\n")


def _from_json(data: dict[str, Any]) -> Manifest:
    tables = {
        str(table): TableState(
            files=tuple(_file_from_json(file) for file in state["files"]),
            open_file=state.get("open_file"),
            open_rows=int(state.get("open_rows", 0)),
        )
        for table, state in data["tables"].items()
    }
    return Manifest(
        generation=int(data["generation"]),
        tables=tables,
        consumed={str(key): int(sequence) for key, sequence in data["consumed"].items()},
        consumed_bytes={str(key): int(size) for key, size in data.get("consumed_bytes", {}).items()},
        retired=tuple(map(str, data.get("retired", ()))),
        damaged=tuple(map(str, data.get("damaged", ()))),
    )


def _file_from_json(data: dict[str, Any]) -> TableFile:
    return TableFile(
        name=str(data["name"]),
        rows=int(data["rows"]),
        bytes=int(data["bytes"]),
        first_ns=int(data["first_ns"]),
        last_ns=int(data["last_ns"]),
        latest_ns=int(data["latest_ns"]),
    )

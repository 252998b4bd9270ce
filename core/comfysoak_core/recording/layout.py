"""Where things lie in a run directory."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

RUN_DIRECTORY_VARIABLE = "COMFYSOAK_RUN_DIR"
HOST_VARIABLE = "COMFYSOAK_HOST"  # what this machine is called in the run, where that is not its own name


def host_name() -> str:
    """What this machine is called in the run."""
    return os.environ.get(HOST_VARIABLE) or platform.node() or "localhost"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside the run directory `root`; nothing is created or looked at here."""

    root: Path

    @property
    def run_json(self) -> Path:
        """What was run, where, and how it ended."""
        return self.root / "run.json"

    @property
    def journal(self) -> Path:
        """Rows not yet in the tables: one file a host, process, table and stretch of time."""
        return self.root / "journal"

    @property
    def tables(self) -> Path:
        """Parquet, one folder a table."""
        return self.root / "tables"

    @property
    def manifest(self) -> Path:
        """Which files of `tables` count, and which stretches of the journal they hold."""
        return self.tables / "manifest.json"

    @property
    def inputs(self) -> Path:
        """What load processes read beside the plan, such as traces; there only if a run needs any.

        It is complete before the first of them starts, and then stays as it is.
        """
        return self.root / "inputs"

    @property
    def canary(self) -> Path:
        """Pictures of the golden canary, a folder a server: the baseline, and what differed from it."""
        return self.root / "canary"

    @property
    def logs(self) -> Path:
        """Structured lines: connections, generations, configuration."""
        return self.root / "logs"

    @property
    def progress(self) -> Path:
        """How far the journal is in the logs; gone when the run is sealed."""
        return self.logs / "progress.json"

    @property
    def cut_off(self) -> Path:
        """On a worker machine: why its load was ended before the run was."""
        return self.root / "cut_off"

    @property
    def recorder_lock(self) -> Path:
        """Held by whoever turns the journal into tables: the recorder, or sealing."""
        return self.root / "recorder.lock"

    @property
    def run_lock(self) -> Path:
        """Held by the process that made the run, as long as it lives."""
        return self.root / "run.lock"

"""The sampler as users have it: a process that is given a run directory, and the journal it writes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from comfysoak_core.recording.journal import read_batches, stretches

Record = dict[str, Any]  # a row as it was journalled, by column
WAIT_S = 20.0
EVERY_S = 0.05


@dataclass(slots=True)
class Sampling:
    """One sampler at work."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        gpu: Sequence[Mapping[str, str]] = ({"kind": "nvml"},),
        servers: Sequence[str] = (),
        driver: Path | None = None,
        script: str = "",
        environment: Mapping[str, str] | None = None,
        **probes: float | str | Mapping[str, float],
    ) -> Sampling:
        """Start it on a run directory with such a plan, beside such a driver (None: no driver)."""
        plan = {"name": "test", "servers": list(servers), "probes": {"gpu": list(gpu), "every_s": EVERY_S, **probes}}
        (folder / "run.json").write_bytes(orjson.dumps({"format": 1, "plan": plan}))
        (folder / "script").write_text(script, encoding="utf-8")
        variables = {**os.environ, "STANDIN_NVML": str(folder / "script"), **(environment or {})}
        variables["LD_LIBRARY_PATH"] = str(driver or folder)
        command = [sys.executable, "-m", "comfysoak_probes", str(folder)]
        process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        return cls(folder, process)

    def rows(self, table: str) -> list[Record]:
        """All rows of a table that are in the journal now."""
        found: list[Record] = []
        for stretch in stretches(self.folder / "journal"):
            if stretch.table == table:
                for batch in read_batches(stretch.path):
                    found += [dict(zip(batch.columns, row, strict=True)) for row in batch.rows]
        return found

    def wait_for(self, table: str, condition: Callable[[list[Record]], bool]) -> list[Record]:
        """The rows of a table once `condition` holds for them; fails when that takes too long."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            rows = self.rows(table)
            if condition(rows):
                return rows
            assert self.process.poll() is None, self.words()
            time.sleep(0.05)
        raise AssertionError(f"{table} has not what was waited for, its last rows are {self.rows(table)[-3:]}")

    def event(self, kind: str) -> Record:
        """The first event of a kind, waited for."""
        return next(row for row in self.wait_for("events", has(kind=kind)) if row["kind"] == kind)

    def end(self) -> int:
        """Ask it to end; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(WAIT_S)
        for pipe in (self.process.stdin, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return status

    def words(self) -> str:
        """What it wrote to standard error until its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


def at_least(count: int) -> Callable[[list[Record]], bool]:
    """So many rows are there."""
    return lambda rows: len(rows) >= count


def has(**values: object) -> Callable[[list[Record]], bool]:
    """One row has these values."""
    return lambda rows: any(all(row[name] == value for name, value in values.items()) for row in rows)

"""The recorder: beside a run, it turns closed stretches of the journal into Parquet and writes the logs.

`python -m comfysoak_core.recording.recorder RUN_DIR`. It may be killed at any moment and started again; SIGTERM
ends it within a second. It does not end the recording: `sealing` does. Exit codes: 0; 3 when another recorder is
at work or the directory is no run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from comfysoak_core import lifeline
from comfysoak_core.errors import ComfySoakError, ExitCode, RecordingError
from comfysoak_core.recording.compaction import Compactor
from comfysoak_core.recording.disk import Disk
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.lock import FileLock
from comfysoak_core.recording.logs import Logs, write_configuration
from comfysoak_core.recording.run_file import read_run_file
from comfysoak_core.recording.start import start_recorder, stop_recorder
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.rows import ROW_TYPES

__all__ = ["Recorder", "main", "start_recorder", "stop_recorder"]

LOG_S = 1.0
SYNC_S = 2.0
COMPACT_S = 300.0
_NICE = 5


class Stopped(BaseException):
    """The recorder was told to end: what is being written is left uncommitted, which does no harm."""


class Recorder:
    """The work of the recorder, a step at a time. The owner holds the recorder's lock.

    `pause` is called between pieces of work and may raise to stop. A disk that refuses raises OSError from any
    step; the recording is then as it was after the last commit, and the step can be tried again.
    """

    def __init__(self, layout: Layout, *, disk: Disk | None = None, pause: Callable[[], None] = lambda: None) -> None:
        self._layout = layout
        self._disk = disk or Disk()
        self._pause = pause
        self._synced: dict[str, int] = {}
        self._compactor = Compactor(layout, self._disk, pause)
        self._logs = Logs(layout, self._compactor.manifest, self._compactor.ids_written, self._disk)

    @property
    def compactor(self) -> Compactor:
        """What moves rows into the tables."""
        return self._compactor

    def log(self) -> None:
        """Write to the logs all that is in the journal."""
        while self._logs.step():
            self._pause()

    def compact(self, *, everything: bool = False) -> None:
        """Move closed stretches into the tables; `everything`: also those that may still be written to."""
        compactor = self._compactor
        taken = compactor.all_stretches() if everything else compactor.closed_stretches()
        self.log()  # after the stretches were listed: each of them is logged to its end before it goes
        for gathered in compactor.compact(taken):
            self._logs.forget(gathered)

    def tidy(self) -> None:
        """Merge small files into larger ones, and delete those merged the time before."""
        self._compactor.remove_retired()
        for row_type in ROW_TYPES:
            while self._compactor.merge(row_type):
                self._pause()

    def sync(self) -> None:
        """Make the journal safe against a loss of power; the producers must not wait for that, so this does it."""
        sizes: dict[str, int] = {}
        for stretch in stretches(self._layout.journal):
            self._pause()
            name = stretch.path.name
            try:
                sizes[name] = stretch.path.stat().st_size
                if sizes[name] != self._synced.get(name):
                    self._disk.sync(stretch.path)
            except FileNotFoundError:
                continue
        self._synced = sizes


class _Loop:
    """Runs the steps of a recorder in their rhythm until told to stop; an error is told once and tried again."""

    def __init__(self, layout: Layout) -> None:
        self._stop = threading.Event()
        self._told: set[str] = set()
        self._recorder = Recorder(layout, pause=self._pause)

    def stop(self, *_: object) -> None:
        self._stop.set()

    def run(self) -> None:
        due: dict[Callable[[], None], float] = {}
        rhythm = {self._recorder.log: LOG_S, self._recorder.sync: SYNC_S, self._tables: COMPACT_S}
        for step, every_s in rhythm.items():
            due[step] = time.monotonic() + every_s
        while not self._stop.wait(max(min(due.values()) - time.monotonic(), 0.0)):
            for step, every_s in rhythm.items():
                if time.monotonic() >= due[step]:
                    self._try(step)
                    due[step] = time.monotonic() + every_s

    def _tables(self) -> None:
        from comfysoak_core.recording import parquet

        parquet.be_modest()
        self._recorder.compact()
        self._recorder.tidy()
        parquet.release_memory()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, ComfySoakError) as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                print(f"recorder: {error}; trying again", file=sys.stderr, flush=True)

    def _pause(self) -> None:
        if self._stop.is_set():
            raise Stopped


def record(root: Path) -> None:
    """Be the recorder of the run in `root` until SIGTERM. Raises RecordingError when there is another."""
    layout = Layout(root)
    read_run_file(layout.run_json)
    with FileLock(layout.recorder_lock) as lock:
        if not lock.acquire():
            raise RecordingError(
                f"{root} is being recorded by another process", "One recorder is enough: this one ends."
            )
        run = read_run_file(layout.run_json)
        if run.sealed:
            raise RecordingError(f"{root} is sealed: its recording has ended", "Start a new run.")
        write_configuration(run, layout)
        loop = _Loop(layout)
        signal.signal(signal.SIGTERM, loop.stop)
        try:
            loop.run()
        except Stopped:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the recorder; its exit code."""
    parser = argparse.ArgumentParser(prog="comfysoak-recorder", description="Turn the journal of a run into tables.")
    parser.add_argument("run_dir", type=Path, help="the run directory")
    options = parser.parse_args(arguments)
    lifeline.hold()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; our parent decides
    if hasattr(os, "nice"):
        os.nice(_NICE)
    try:
        record(options.run_dir)
    except ComfySoakError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{options.run_dir} cannot be recorded: {error}", file=sys.stderr)
        return ExitCode.NOT_VALID
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())

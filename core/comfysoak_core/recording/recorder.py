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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
        self._begin()

    def _begin(self) -> None:
        self._failed = True
        self.compactor = Compactor(self._layout, self._disk, self._pause)
        self._logs = Logs(self._layout, self.compactor.manifest, self.compactor.ids_written, self._disk)
        self._failed = False

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """After a failure begin anew from what is on disk: nobody knows how far the failed step came."""
        if self._failed:
            self._begin()
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def log(self) -> None:
        """Write to the logs all that is in the journal."""
        with self._attempt():
            while self._logs.step():
                self._pause()

    def compact(self, *, everything: bool = False) -> None:
        """Move closed stretches into the tables; `everything`: also those that may still be written to."""
        with self._attempt():
            taken = self.compactor.all_stretches() if everything else self.compactor.closed_stretches()
            self.log()  # after the stretches were listed: each of them is logged to its end before it goes
            for gathered in self.compactor.compact(taken):
                self._logs.forget(gathered)

    def tidy(self) -> None:
        """Merge small files into larger ones, and delete those merged the time before."""
        with self._attempt():
            self.compactor.remove_retired()
            for row_type in ROW_TYPES:
                while self.compactor.merge(row_type):
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
    """Runs the steps of a recorder in their rhythm until `stop` is set; an error is told once and tried again."""

    def __init__(self, layout: Layout, stop: threading.Event) -> None:
        self._stop = stop
        self._told: set[str] = set()
        self._recorder = Recorder(layout, pause=self._pause)

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


def record(root: Path, stop: threading.Event) -> None:
    """Be the recorder of the run in `root` until `stop` is set. Raises RecordingError when there is another."""
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
        with suppress(Stopped):
            _Loop(layout, stop).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the recorder; its exit code."""
    parser = argparse.ArgumentParser(prog="comfysoak-recorder", description="Turn the journal of a run into tables.")
    parser.add_argument("run_dir", type=Path, help="the run directory")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; our parent decides
    lifeline.hold()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    try:
        record(options.run_dir, stop)
    except ComfySoakError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{options.run_dir} cannot be recorded: {error}", file=sys.stderr)
        return ExitCode.NOT_VALID
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())

"""The recording of a test that plain Locust started: made, recorded and sealed without a supervisor."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import gevent

from comfysoak_core.clock import Clock
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.host_facts import this_host
from comfysoak_core.recording.layout import Layout
from comfysoak_core.recording.lock import is_held
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.recording.start import seal_run, start_recorder, stop_recorder
from comfysoak_core.recording.stretch import stretches
from comfysoak_core.scenario.plan import Plan

WORKERS_WITHIN_S = 6.0
_log = logging.getLogger("comfysoak")


def check_writable(parent: Path) -> None:
    """Raises UsageError when no run directory can be made in `parent`; leaves nothing behind."""
    made = not parent.exists()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent):
            pass
        if made:
            parent.rmdir()
    except OSError as error:
        raise UsageError(
            f"a run directory cannot be made in {parent.absolute()}: {error.strerror or error}",
            "Start Locust in a folder you may write to.",
        ) from error


class OwnRun:
    """A run directory of our own, and its recorder."""

    def __init__(self, recording: Recording, recorder: subprocess.Popen[bytes]) -> None:
        self._recording = recording
        self._recorder = recorder

    @classmethod
    def begin(cls, parent: Path, plan: Plan, clock: Clock) -> OwnRun:
        """Make a run directory under `parent` and start its recorder. UsageError when it cannot be written."""
        recording = Recording.create(
            parent,
            plan.name,
            clock=clock,
            plan=plan.model_dump(mode="json"),
            argv=tuple(sys.argv),
            hosts=(this_host(),),
        )
        return cls(recording, start_recorder(recording.path))

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._recording.path

    def end(self, reason: EndReason, clock: Clock) -> None:
        """Wait for the other processes of this test to close their journals, then seal."""
        ended_ns = clock.now_ns()
        self._wait_for_writers()
        stop_recorder(self._recorder)
        status = seal_run(self.path, reason.value, ended_ns)
        self._recording.release()
        if status != 0:
            _log.error("The recording could not be sealed now; `comfysoak report %s` does it.", self.path)

    def _wait_for_writers(self) -> None:
        journal = Layout(self.path).journal
        for _ in range(round(WORKERS_WITHIN_S / 0.1)):
            if not any(is_held(stretch.path) for stretch in stretches(journal)):
                return
            gevent.sleep(0.1)

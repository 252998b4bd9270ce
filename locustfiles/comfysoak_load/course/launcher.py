"""Runs the command that starts a server, and keeps the end of what it says."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence

import gevent
import gevent.subprocess

from comfysoak_core.recording.redaction import redact

LAST_WORDS_WITHIN_S = 0.5
OUTPUT_MOST = 2000  # characters kept, from the end
_OURS = "COMFYSOAK_"  # variables by which processes of a run know each other; a command belongs to none


class Launcher:
    """One command at a time. One that goes on, because it is the server itself, ends before the next and with us."""

    def __init__(self) -> None:
        self._process: gevent.subprocess.Popen | None = None
        self._output = b""
        self._reading: gevent.Greenlet | None = None

    def start(self, command: Sequence[str] | str) -> str | None:
        """Start it: a program with its arguments, or text for a shell. What went wrong, or None."""
        self.stop()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._output = b""
        try:
            self._process = gevent.subprocess.Popen(
                command if isinstance(command, str) else list(command),
                shell=isinstance(command, str),  # as its author wrote it, in the scenario
                stdin=gevent.subprocess.DEVNULL,
                stdout=gevent.subprocess.PIPE,
                stderr=gevent.subprocess.STDOUT,
                bufsize=0,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return f"it cannot be run: {error.strerror}"
        self._reading = gevent.spawn(self._read, self._process)
        return None

    @property
    def exit_status(self) -> int | None:
        """None while it runs, or when there is none."""
        status: int | None = self._process.poll() if self._process is not None else None
        return status

    def hear_out(self) -> str:
        """The end of what it has said, once it has said all; what it has started may go on and hold its channels."""
        if self._reading is not None:
            self._reading.join(timeout=LAST_WORDS_WITHIN_S)
        return self.output

    @property
    def output(self) -> str:
        """The end of what it has said so far, on both channels."""
        return redact(self._output.decode("utf-8", "replace")[-OUTPUT_MOST:]).strip()

    def stop(self) -> None:
        """End it and what it has started, if it goes on."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, gevent.subprocess.TimeoutExpired):
                    os.killpg(process.pid, number)
                    process.wait(timeout=1.0)
        if self._reading is not None:
            self._reading.kill(block=False)
            self._reading = None

    def _read(self, process: gevent.subprocess.Popen) -> None:
        """To the end, or it would stand still when its pipe is full."""
        with contextlib.suppress(OSError, ValueError):  # closed
            while chunk := process.stdout.read(4096):
                self._output = (self._output + chunk)[-4 * OUTPUT_MOST :]

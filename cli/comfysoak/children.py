"""The processes of a run: started with a lifeline, named by their role, ended in good order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comfysoak import places
from comfysoak_core.errors import ComfySoakError
from comfysoak_core.lifeline import LIFELINE_VARIABLE

POLL_S = 0.02
LOG_LINES_SHOWN = 8


@dataclass(slots=True)
class Child:
    """One process of a run and where its output goes."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def exit_status(self) -> int | None:
        """The exit status (negative: minus the signal), None while it lives."""
        return self.process.poll()

    def describe_end(self) -> str:
        """How it ended, in words."""
        status = self.process.poll()
        if status is None:
            return f"the {self.role} is running"
        if status < 0:
            return f"the {self.role} was killed by {signal.Signals(-status).name}"
        return f"the {self.role} ended with exit status {status}"

    def last_words(self) -> str:
        """The last lines of its log."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES_SHOWN:])

    def say(self, line: str) -> None:
        """Write a line to its standard input; one that is gone does not hear it."""
        stdin = self.process.stdin
        if stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                stdin.write(line.encode() + b"\n")
                stdin.flush()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process.poll() is None:
            self.process.terminate()

    def end(self, within_s: float) -> int:
        """Ask it to end, wait `within_s`, then kill it and what it started; its exit status."""
        self.terminate()
        return self.wait_or_kill(within_s)

    def wait_or_kill(self, within_s: float) -> int:
        """Wait `within_s` for its end, then kill it and what it started; its exit status."""
        try:
            status = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            kill_group(self.process.pid)
            status = self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        return status


def kill_group(pid: int) -> None:
    """Kill a child and all of its process group (each child leads one)."""
    with contextlib.suppress(ProcessLookupError):  # it was gone already
        os.killpg(pid, signal.SIGKILL)


def start(role: str, module_arguments: Sequence[str], environment: Mapping[str, str], logs: Path) -> Child:
    """Start `python -m ...` as `role`; its output goes to `logs/ROLE.log`.

    Its standard input is the lifeline: it ends within two seconds of our end, however we end. It leads a process
    group of its own, so that Ctrl-C in a terminal reaches the supervisor only, which then ends all in order.
    """
    log = logs / f"{role}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module_arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, LIFELINE_VARIABLE: "1"},
            start_new_session=True,
        )
    return Child(role, process, log)


def locust_arguments(arguments: Sequence[str], *, gateway: bool) -> list[str]:
    """What `start` takes for a process of Locust with our load, on ComfyUI or through a gateway."""
    ours = ["-f", str(places.locustfile(gateway=gateway)), "--exit-code-on-error", "0"]
    return ["locust", *ours, *arguments, "--loglevel", "WARNING", "--skip-log"]


def wait_for_line(child: Child, prefix: str, within_s: float, *, give_up: Callable[[], bool]) -> str | None:
    """The first line of its log that begins with `prefix`, None when asked to give up.

    ComfySoakError with its last words if none comes in time.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if give_up():
            return None
        for line in child.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(prefix):
                return line
        if child.exit_status is not None:
            break
        time.sleep(POLL_S)
    raise ComfySoakError(
        f"{child.describe_end()} and was not ready within {within_s:.0f} s\n{child.last_words()}",
        f"Its whole output is in {child.log}.",
    )

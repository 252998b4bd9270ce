"""Artillery, where it is installed: what one socket weighs, from two runs that differ in their number only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

OPEN_S, HOLD_S = 15, 5
FEW, MANY = 1000, 5000  # a heap grows in steps: with fewer the difference is lost in them
NEVER_WITHIN_S = 90.0
SCENARIO = """\
config:
  target: "ws://127.0.0.1:{port}/ws"
  phases: [{{duration: {open_s}, arrivalCount: {number}}}]
scenarios:
  - engine: ws
    flow: [{{think: {hold_s}}}]
"""


def is_here() -> bool:
    """Whether it can be run."""
    return shutil.which("artillery") is not None


def bytes_per_socket(port: int) -> float:
    """The growth of its memory per socket."""
    return (_most_bytes(port, MANY) - _most_bytes(port, FEW)) / (MANY - FEW)


def _most_bytes(port: int, number: int) -> int:
    """The most memory that Artillery and its children hold, with so many sockets open at once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sockets.yml"
        path.write_text(SCENARIO.format(port=port, number=number, open_s=OPEN_S, hold_s=HOLD_S + OPEN_S))
        command = [str(shutil.which("artillery")), "run", "--quiet", str(path)]
        environment = os.environ | {"ARTILLERY_DISABLE_TELEMETRY": "true"}
        process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most, give_up = 0, time.monotonic() + NEVER_WITHIN_S
        while process.poll() is None and time.monotonic() < give_up:
            most = max(most, _bytes_of(process))
            time.sleep(0.2)
        if process.is_running():
            process.kill()
            process.wait(10)
        return most


def _bytes_of(process: psutil.Process) -> int:
    total = 0
    try:
        for found in (process, *process.children(recursive=True)):
            total += found.memory_info().rss
    except psutil.Error:
        return 0  # one of them has just ended
    return total

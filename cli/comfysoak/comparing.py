"""Comparisons are made in a process of their own, which may load pandas; so the command itself starts at once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import click

from comfysoak_core.errors import ComfySoakError, ExitCode
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable

WITHIN_S = 900.0
QUIET_S = 2.0  # what is over sooner tells nothing on how far it is
PROGRESS = "progress: "  # of its lines on stderr


def compare_in_process(call: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """The exit code and what is to be told; None where an error was told already."""
    with tempfile.TemporaryFile() as written:
        code, words, in_time = _child(json.dumps(call).encode(), written)
        written.seek(0)
        output = written.read().strip()
    if not in_time:
        raise ComfySoakError(f"the comparison took longer than {WITHIN_S:.0f} s", "Compare fewer runs.")
    if output.startswith(b"{"):
        told: dict[str, Any] = json.loads(output)
        return code, told
    if output == b"null" and code == 0:
        return 0, {"comparison": None}
    if code in {ExitCode.WRONG_CALL, ExitCode.NOT_VALID} and words:
        for line in f"error: {redact(words)}".splitlines():
            click.echo(printable(line), err=True)
        return code, None
    raise ComfySoakError(f"the comparison failed: {words.splitlines()[-1] if words else code}",
                         words[-4000:])  # fmt: skip


def _child(call: bytes, output: BinaryIO) -> tuple[int, str, bool]:
    """Its exit code, its words on stderr without those on how far it is, and whether it ended in time."""
    command = [sys.executable, "-m", "comfysoak_analysis.compare"]
    began = time.monotonic()
    with tempfile.TemporaryFile() as asked:
        asked.write(call)
        asked.seek(0)
        with subprocess.Popen(command, stdin=asked, stdout=output, stderr=subprocess.PIPE) as process:
            ending = threading.Timer(WITHIN_S, process.kill)
            ending.start()
            try:
                words = "".join(_words(process.stderr or (), began))
            except BaseException:
                process.kill()
                raise
            finally:
                ending.cancel()
    return process.returncode, words.strip(), time.monotonic() - began < WITHIN_S


def _words(lines: Iterable[bytes], began: float) -> Iterator[str]:
    """What is not on how far it is; that is told, once it takes long."""
    for line in lines:
        text = line.decode("utf-8", "replace")
        if not text.startswith(PROGRESS):
            yield text
        elif time.monotonic() - began >= QUIET_S:
            click.echo(printable(text.removeprefix(PROGRESS).rstrip()), err=True)

"""Comparisons are made in a process of their own, which may load pandas; so the command itself starts at once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click

from comfysoak_core.errors import ComfySoakError, ExitCode
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable

WITHIN_S = 900.0


def compare_in_process(call: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
    """The exit code and what is to be told; None where an error was told already."""
    try:
        process = subprocess.run(
            [sys.executable, "-m", "comfysoak_analysis.compare"],
            input=json.dumps(call).encode(),
            capture_output=True,
            check=False,
            timeout=WITHIN_S,
        )
    except subprocess.TimeoutExpired:
        raise ComfySoakError(f"the comparison took longer than {WITHIN_S:.0f} s", "Compare fewer runs.") from None
    output, words = process.stdout.strip(), process.stderr.decode("utf-8", "replace").strip()
    if output.startswith(b"{"):
        told: dict[str, Any] = json.loads(output)
        return process.returncode, told
    if output == b"null" and process.returncode == 0:
        return 0, {"comparison": None}
    if process.returncode in {ExitCode.WRONG_CALL, ExitCode.NOT_VALID} and words:
        for line in f"error: {redact(words)}".splitlines():
            click.echo(printable(line), err=True)
        return process.returncode, None
    raise ComfySoakError(f"the comparison failed: {words.splitlines()[-1] if words else process.returncode}",
                         words[-4000:])  # fmt: skip

"""`python -m comfysoak_analysis.compare`: one call, as JSON on stdin; the comparison as JSON on stdout.

On stderr, in lines that begin with `PROGRESS`, what it does; and what went wrong.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

import orjson

from comfysoak_analysis.compare.call import CALL, run_call
from comfysoak_analysis.compare.words import cases_text, lines
from comfysoak_analysis.text import bounded
from comfysoak_core.errors import ComfySoakError, ExitCode

PROGRESS = "progress: "


def main() -> int:
    """The exit code of the comparison; of an error its own, with its words on stderr."""
    try:
        comparison = run_call(CALL.validate_json(sys.stdin.buffer.read()), _progress)
    except ComfySoakError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    if comparison is None:
        sys.stdout.write("null\n")
        return int(ExitCode.OK)
    shown = {"cases": cases_text(comparison), "lines": [asdict(line) for line in lines(comparison)]}
    sys.stdout.buffer.write(orjson.dumps({"comparison": comparison.to_dict(), "shown": shown}))
    return int(comparison.exit_code)


def _progress(words: str) -> None:
    sys.stderr.write(f"{PROGRESS}{bounded(words)}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m comfysoak_analysis RUN_DIR`: make the reports of a run, and print its verdict as JSON."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # read when Arrow is loaded: its own pool keeps what was freed

from comfysoak_analysis.allocating import give_memory_back
from comfysoak_analysis.report import build, write_page
from comfysoak_core.errors import ComfySoakError, ExitCode


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 or 3 by the verdict; 3 with one sentence on stderr where there is no readable recording."""
    parser = argparse.ArgumentParser(prog="python -m comfysoak_analysis", description=main.__doc__)
    parser.add_argument("run_dir", type=Path, help="the directory of a run, such as runs/20261122-101500-demo")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page alone, to this file")
    parser.add_argument("--live", action="store_true", help="of a run that is still going on, for --page")
    parser.add_argument("--when-told", action="store_true", help="load everything, then wait for a line on stdin")
    arguments = parser.parse_args(argv)
    if arguments.when_told and not sys.stdin.readline():
        return int(ExitCode.OK)  # whoever would have told has gone
    give_memory_back()
    try:
        if arguments.page is not None:
            write_page(arguments.run_dir, arguments.page, live=arguments.live)
            return int(ExitCode.OK)
        verdict = build(arguments.run_dir)
    except ComfySoakError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.buffer.write(verdict.to_json())
    return int(verdict.exit_code)


if __name__ == "__main__":
    sys.exit(main())

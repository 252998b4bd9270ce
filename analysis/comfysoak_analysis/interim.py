"""Goals that may end a run, judged while it goes on.

    python -m comfysoak_analysis.interim RUN_DIR --goal "prompts.failed < 5%"

prints one line of JSON: {"missed": "prompts.failed < 5% (measured 12 %)"}, empty where none is missed. A run is looked
at many times, and each look is a chance to be wrong: shares and percentiles count as missed only where the data would
come up once in a thousand runs that meet the goal. Whatever is compared as seen, such as a maximum, is as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from comfysoak_analysis.findings.detectors import find_all
from comfysoak_analysis.frames import Run, open_run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.verdict import Standing
from comfysoak_core.errors import ComfySoakError

ONE_IN = 1000
_OF_FINDINGS = ("findings.", "failures.")


def missed(run: Run, goals: Sequence[str]) -> str:
    """Those of `goals` that are missed for sure, with what was measured; empty where none is."""
    states = GpuStates(run)
    needs_findings = any(goal.strip().startswith(_OF_FINDINGS) for goal in goals)
    results = evaluate(run, find_all(run, states) if needs_findings else (), goals, states, unlikely=1 / ONE_IN)
    return "; ".join(f"{one.text} (measured {one.value_text})" for one in results if one.standing is Standing.MISSED)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 with the answer on stdout; another with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m comfysoak_analysis.interim", description=main.__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--goal", action="append", required=True, dest="goals")
    arguments = parser.parse_args(argv)
    try:
        found = missed(open_run(arguments.run_dir), arguments.goals)
    except ComfySoakError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(json.dumps({"missed": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

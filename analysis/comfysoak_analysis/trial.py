"""One trial of a search for capacity, judged while the run goes on: whether the goals hold there.

    python -m comfysoak_analysis.trial RUN_DIR --phase "8 users" --goal "prompts.latency.p95 < 30s"

prints one line of JSON: {"held", "sure", "why"}. Judged are the prompts of that phase and nothing else. What was never
sent, and what had not ended when the level was over, speaks against it: so looks a level beyond capacity.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from comfysoak_analysis.frames import Run, open_run
from comfysoak_analysis.goals import evaluate
from comfysoak_analysis.prompts import as_measured
from comfysoak_analysis.verdict import GoalResult, Standing
from comfysoak_core.errors import ComfySoakError
from comfysoak_core.rows import Outcome
from comfysoak_core.scenario.goals import parse_goal

UNENDED_LIMIT = 0.01  # of the prompts of a level: more that were never sent, or never ended, and it broke
WHY_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the goals held; not `sure` where there were too few prompts to tell, and it was gone by what was seen."""

    held: bool
    sure: bool
    why: str


def judge_trial(run: Run, phase: str, goals: Sequence[str]) -> Judgement:
    """The judgement on the prompts of `phase`."""
    chosen = run.prompts[run.prompts["phase"] == phase].reset_index(drop=True)
    run.prompts = as_measured(chosen)
    unended = _unended(chosen)
    if unended:
        return Judgement(held=False, sure=True, why=unended)
    results = evaluate(run, (), goals)
    missed = [result for result in results if result.standing is Standing.MISSED]
    undecided = [result for result in results if result.standing is Standing.UNDECIDED]
    held = not missed and all(_as_seen(result) for result in undecided)
    return Judgement(held, sure=bool(missed) or not undecided, why=_told(missed or undecided or results))


def _unended(prompts: pd.DataFrame) -> str:
    """What was not sent or had not ended, in words, where that was too much."""
    outcome = prompts["outcome"].fillna(Outcome.ABORTED.value)
    for kind, words in ((Outcome.NOT_SENT, "could not be sent"), (Outcome.ABORTED, "had not ended when it was over")):
        count = int((outcome == kind.value).sum())
        if count > UNENDED_LIMIT * len(prompts):
            return f"{count:,} of {len(prompts):,} prompts {words}"
    return ""


def _as_seen(result: GoalResult) -> bool:
    """Whether an undecided goal was met as far as was seen; where nothing was measured it was not."""
    return result.value is not None and parse_goal(result.text).holds(result.value)


def _told(results: Sequence[GoalResult]) -> str:
    said = (
        f"{result.text}: {result.value_text}" + (f" ({result.reason})" if result.reason else "") for result in results
    )
    return "; ".join(said)[:WHY_CHARACTERS]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 with the judgement on stdout; another with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m comfysoak_analysis.trial", description=main.__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--phase", required=True)
    parser.add_argument("--goal", action="append", required=True, dest="goals")
    arguments = parser.parse_args(argv)
    try:
        judgement = judge_trial(open_run(arguments.run_dir), arguments.phase, arguments.goals)
    except ComfySoakError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(json.dumps(asdict(judgement)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

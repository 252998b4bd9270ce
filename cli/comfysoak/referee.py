"""Has the levels of a search for capacity judged while the run goes on, and tells the load what came of it.

The load journals each trial when it has ended; its prompts are judged by analysis, in a process of its own, as all
goals are; the answer goes to the load as a line on its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from comfysoak_core.recording.tail import NewRows
from comfysoak_core.rows import Trial
from comfysoak_core.scenario.plan import Plan

Tell = Callable[[str], None]


@dataclass(slots=True)
class _Case:
    """A trial that is being judged."""

    trial: str
    round: int
    process: subprocess.Popen[str]


class Referee:
    """Watches the new rows of a run; `tell` takes a line for the load."""

    def __init__(self, run_dir: Path, plan: Plan, log: Path) -> None:
        self._run_dir = run_dir
        self._plan = plan
        self._log = log
        self._cases: list[_Case] = []
        self._asked: set[tuple[str, int]] = set()

    def look(self, batches: Iterable[NewRows], tell: Tell) -> None:
        """Begin to judge what has ended, and tell what has been judged; never waits."""
        for batch in batches:
            if batch.table == Trial.TABLE:
                for row in batch.rows:
                    self._judge(dict(zip(batch.columns, row, strict=True)))
        for case in [case for case in self._cases if case.process.poll() is not None]:
            self._cases.remove(case)
            tell(self._answer(case))

    def close(self) -> None:
        """End what is still being judged."""
        for case in self._cases:
            case.process.kill()
            case.process.communicate()
        self._cases.clear()

    def _judge(self, row: dict[str, object]) -> None:
        """Start to judge a trial, once a round."""
        trial, ended_round = str(row["id"]), int(str(row["round"] or 0))
        if row["ended_ns"] is None or row["judged_ns"] is not None or (trial, ended_round) in self._asked:
            return
        self._asked.add((trial, ended_round))
        search = self._plan.stages[int(trial.partition("/")[0])].search
        goals = search.goals if search is not None else ()
        arguments = [str(self._run_dir), "--phase", str(row["phase"])]
        arguments += [part for goal in goals for part in ("--goal", goal)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "comfysoak_analysis.trial", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._cases.append(_Case(trial, ended_round, process))

    def _answer(self, case: _Case) -> str:
        """What the load is told; a judge that failed has not seen the level hold."""
        output, _ = case.process.communicate()
        try:
            found = json.loads(output)
        except ValueError:
            why = f"it could not be judged (exit status {case.process.returncode}, see {self._log.name})"
            found = {"held": False, "sure": False, "why": why}
        return json.dumps({"trial": case.trial, "round": case.round, **found})

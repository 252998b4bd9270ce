"""Has the goals that may end a run judged again and again while it goes on, by analysis, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comfysoak_core.scenario.goals import AbortGoal

EVERY_S = 10.0
SHARE_OF_TIME = 0.05  # of one core: a look at a long run takes longer, and comes less often


@dataclass(slots=True)
class GoalWatch:
    """Asks about each goal from its `after_s` on; `look` never waits."""

    run_dir: Path
    aborts: Sequence[AbortGoal]
    log: Path
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _asked_at_s: float = field(default=0.0, init=False)
    _next_s: float = field(default=0.0, init=False)

    def look(self, load_s: float) -> str | None:
        """`load_s` seconds of load are over: why the run must end, as far as is known by now."""
        if self._process is not None:
            return self._answer(load_s) if self._process.poll() is not None else None
        due = [abort.goal for abort in self.aborts if load_s >= abort.after_s]
        if due and load_s >= self._next_s:
            self._ask(due, load_s)
        return None

    def close(self) -> None:
        """End a judgement under way."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, goals: Sequence[str], load_s: float) -> None:
        arguments = [str(self.run_dir), *(part for goal in goals for part in ("--goal", goal))]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "comfysoak_analysis.interim", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._asked_at_s = load_s

    def _answer(self, load_s: float) -> str | None:
        """What came out; a judgement that failed has seen nothing missed, and stands in the log."""
        assert self._process is not None  # noqa: S101  # the caller looked
        output, _ = self._process.communicate()
        self._process = None
        self._next_s = load_s + max(EVERY_S, (load_s - self._asked_at_s) / SHARE_OF_TIME)
        try:
            found = str(json.loads(output)["missed"])
        except (ValueError, KeyError):
            return None
        return found or None

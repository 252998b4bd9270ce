"""The trials of a search for capacity, between the course that goes through them and the supervisor that judges them.

Each trial is a row: begun, ended, judged. The supervisor reads the journal, has an ended trial judged, and writes the
answer to this process, a line of JSON: {"trial": "0/3", "round": 1, "held": true, "sure": true, "why": "..."}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from comfysoak_core import lifeline
from comfysoak_core.clock import Clock
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Trial
from comfysoak_core.scenario.parts import Judgement, Now, TrialNow
from comfysoak_core.scenario.stage import CapacitySearch


class Trials:
    """The rows of all trials of a test, and the last judgement that came."""

    def __init__(self, clock: Clock, journal: Callable[[], Journal], heard: Callable[[], list[str]] = lifeline.words):
        self.judgement: Judgement | None = None
        self._clock = clock
        self._journal = journal
        self._heard = heard
        self._row: Trial | None = None

    def listen(self) -> None:
        """Take the answers that have come."""
        for line in self._heard():
            self._take(line)

    def note(self, now: Now, what: CapacitySearch | None) -> None:
        """What is on: journal a trial that begins, is held on, or has ended."""
        trial = now.trial
        if trial is None or what is None:
            return
        trial_id = f"{now.number}/{trial.trial.number}"
        if self._row is None or self._row.id != trial_id:
            self._write(self._begun(trial_id, trial, what))
        elif trial.ended and self._row.round != trial.round:
            ended_ns = self._clock.now_ns()
            self._journal().flush()  # its prompts are read as soon as it has ended
            self._write(replace(self._row, round=trial.round, ended_ns=ended_ns, judged_ns=None, held=None, sure=None))

    def _begun(self, trial_id: str, trial: TrialNow, what: CapacitySearch) -> Trial:
        return Trial(
            id=trial_id,
            unit=what.unit,
            level=trial.trial.level,
            again=trial.trial.again,
            phase=trial.phase,
            began_ns=self._clock.now_ns(),
        )

    def _take(self, line: str) -> None:
        row = self._row
        try:
            said = json.loads(line)
            if row is None or said["trial"] != row.id:
                return
            held, sure, why = bool(said["held"]), bool(said["sure"]), str(said["why"])
            stage, _, number = row.id.partition("/")
            of = (int(stage), int(number), int(said["round"]))
        except (ValueError, KeyError, TypeError):
            return  # no word of our supervisor
        self.judgement = Judgement(of, held, sure)
        self._write(replace(row, held=held, sure=sure, why=why, judged_ns=self._clock.now_ns()))

    def _write(self, row: Trial) -> None:
        self._row = row
        self._journal().add_now(row)

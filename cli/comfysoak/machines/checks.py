"""Can this worker do its share? Asked in a thread: a server that does not answer must not make a worker seem dead."""

from __future__ import annotations

import threading
from pathlib import Path

from comfysoak.machines.words import Cannot, Ready
from comfysoak_core.errors import ComfySoakError
from comfysoak_core.recording.recording import Recording
from comfysoak_core.scenario.plan import Plan


class Checks:
    """Handles, memory, tokens, and whether each server answers from here."""

    def __init__(self, run_dir: Path, processes: int, processes_in_all: int) -> None:
        self._run_dir = run_dir
        self._processes = processes
        self._processes_in_all = processes_in_all
        self._answer: Ready | Cannot | None = None
        threading.Thread(target=self._check, name="checks", daemon=True).start()

    def answer(self) -> Ready | Cannot | None:
        """What came of them; None while they go on."""
        return self._answer

    def _check(self) -> None:
        from comfysoak.preflight import servers_as_found
        from comfysoak_load.process.room import Machine, Share, check_room

        try:
            plan = Plan.model_validate(Recording.open(self._run_dir).run.plan)
            list(check_room(Share.of(plan, self._processes, self._processes_in_all), Machine.here()))
            servers_as_found(plan)
        except ComfySoakError as error:
            first = error.problems[0]
            self._answer = Cannot(why=first.what[:2000], remedy=first.remedy[:2000])
        except Exception as error:  # noqa: BLE001  # the master must hear of it, whatever it is
            self._answer = Cannot(why=f"{type(error).__name__}: {error}"[:2000])
        else:
            self._answer = Ready()

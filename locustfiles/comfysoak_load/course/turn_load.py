"""What one process does of the turn that is on: whether its users send, which arrivals are its own, its sessions."""

from __future__ import annotations

from pathlib import Path

from comfysoak_core.scenario.stage import Stage
from comfysoak_load.arrivals.dispatcher import Dispatcher
from comfysoak_load.course.turn import Turn
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.told import Fire
from comfysoak_load.sockets.sessions import SessionLoad


class TurnLoad:
    """The load of one process during one test. Traces lie in `run_dir`; `fire` tells Locust of each request."""

    def __init__(self, process: LoadProcess, run_dir: Path, fire: Fire) -> None:
        self._process = process
        self._run_dir = run_dir
        self._fire = fire
        self._dispatcher: Dispatcher | None = None
        self._sessions: SessionLoad | None = None

    def take(self, turn: Turn, stage: Stage, part_of_parts: tuple[int, int] | None) -> None:
        """Do this part of so many of a turn; None: nothing but what concerns users."""
        self._process.begin_block(stage.block)
        if turn.sends:
            self._process.under_load.set()
        else:
            self._process.under_load.clear()
        if turn.sends and stage.users_most:  # those of the stage before have up to a second to leave
            self._process.sending.set()
        else:
            self._process.sending.clear()
        if part_of_parts is not None:
            self._send_arrivals(turn, stage, part_of_parts)
            self._hold_sessions(turn, part_of_parts)

    def is_idle(self, turn: Turn) -> bool:
        """Whether no prompt is open; and no socket either, while all are to be away."""
        process, dispatcher = self._process, self._dispatcher
        sending = process.in_flight > 0 or (dispatcher is not None and dispatcher.on_their_way > 0)
        return not sending and (turn.attended or process.sockets.held_count == 0)

    def stop(self) -> None:
        """The test ends."""
        if self._dispatcher is not None:
            self._dispatcher.stop()
        if self._sessions is not None:
            self._sessions.stop()

    def _send_arrivals(self, turn: Turn, stage: Stage, part_of_parts: tuple[int, int]) -> None:
        if self._dispatcher is None and stage.is_open:
            self._dispatcher = Dispatcher(self._process, self._fire, self._run_dir)
        if self._dispatcher is not None and turn.sends:
            self._dispatcher.share(*part_of_parts)
            self._dispatcher.enter(stage, turn.stage, turn.zero_ns, from_s=turn.from_s, until_s=turn.until_s)
        elif self._dispatcher is not None and turn.attended:
            self._dispatcher.leave(for_good=turn.level is not None)
        elif self._dispatcher is not None:
            self._dispatcher.retire()

    def _hold_sessions(self, turn: Turn, part_of_parts: tuple[int, int]) -> None:
        if self._sessions is None:
            self._sessions = SessionLoad(self._process, self._process.plan.sessions, self._fire)
        self._sessions.begin(*part_of_parts, attended=turn.attended)

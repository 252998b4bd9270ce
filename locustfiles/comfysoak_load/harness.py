"""Ties one Locust process to a run: makes or finds the run directory, starts and stops what its users share.

A locustfile says `events.init.add_listener(attach)`; nothing happens before that. Under `comfysoak run` the run
directory is there already (COMFYSOAK_RUN_DIR) and belongs to the supervisor. Plain Locust makes one for each test
start, with a recorder, and seals it when the test stops.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gevent
from gevent.lock import BoundedSemaphore
from locust.exception import StopTest
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPED, MasterRunner, WorkerRunner

from comfysoak_core import lifeline
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.distant_clock import clock_from_environment
from comfysoak_core.errors import ComfySoakError, ExitCode, UsageError
from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE, Layout
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.quantities import format_duration
from comfysoak_load.course.turn import Turn
from comfysoak_load.course.turn_load import TurnLoad
from comfysoak_load.edge.handles import check_handles
from comfysoak_load.process.built_in import plain_plan
from comfysoak_load.process.load_process import LoadProcess, new_journal
from comfysoak_load.process.own_run import OwnRun, check_writable
from comfysoak_load.process.room import PROCESSES_VARIABLE, Share
from comfysoak_load.process.roster import IDLE_MESSAGE, PLACE_MESSAGE, Roster, place
from comfysoak_load.process.statistics import keep_small
from comfysoak_load.prompts.canary import Canaries
from comfysoak_load.prompts.told import fire_of

STOP_GRACE_S = 5.0  # for open prompts when Locust stops a test (`-t`, the web page's button); `-s` says otherwise
PARENT_EVERY_S = 0.5
IDLE_EVERY_S = 0.05
DEAL_AHEAD_S = 0.5  # until then all have heard of a new deal
OWN_RUNS = Path("runs")
WORKER_GRACE_S = 2.0  # a worker has three seconds from its master's end to its own

_RUN_MESSAGE = "comfysoak_run"
_INTERRUPTED_MESSAGE = "comfysoak_interrupted"
_TURN_MESSAGE = "comfysoak_turn"
_log = logging.getLogger("comfysoak")

PlainPlan = Callable[[str | None], Plan]


def attach(environment: Any, *, plain: PlainPlan = plain_plan, **_: Any) -> None:
    """Listener of Locust's `init` event. Ends the process with a clear message when the run cannot be.

    `plain` makes the plan of plain Locust from its `--host`.
    """
    if getattr(environment, "comfysoak", None) is not None:
        return
    lifeline.hold(hears=not isinstance(environment.runner, WorkerRunner))
    gevent.get_hub().loop.update_now()  # it stands since gevent was imported: Locust's -t would be over that much early
    try:
        environment.comfysoak = Harness(environment, plain)
    except ComfySoakError as error:
        sys.stderr.write(f"{error}\n")
        _end_workers()
        sys.exit(int(error.exit_code))


def _end_workers() -> None:
    """End the workers that `--processes` has forked: without their master they would try to reach it for minutes."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            child.terminate()


def harness_of(environment: Any) -> Harness:
    """The harness of a Locust environment. UsageError when the locustfile did not attach one."""
    harness: Harness | None = getattr(environment, "comfysoak", None)
    if harness is None:
        raise UsageError(
            "this locustfile uses ComfySoak's users, but did not attach its harness",
            "Add to the locustfile: events.init.add_listener(comfysoak_load.harness.attach)",
        )
    return harness


def process_of(environment: Any) -> LoadProcess:
    """What the users of this process share, while a test runs."""
    process = harness_of(environment).process
    if process is None:
        raise UsageError("no test is running", "Users are made by Locust, between test_start and test_stop.")
    return process


class Steering(Protocol):
    """Who takes a test through its course."""

    def stop(self) -> None:
        """The test ends: no more of it."""

    def clear_up(self) -> None:
        """It has ended, and no socket is open any more."""


class Harness:
    """One Locust process: the only one, a master, or a worker."""

    def __init__(self, environment: Any, plain: PlainPlan = plain_plan) -> None:
        self.environment = environment
        self._plain = plain
        self.clock = clock_from_environment()
        self.process: LoadProcess | None = None
        self._load: TurnLoad | None = None  # a master has none
        self._canaries: Canaries | None = None
        self._turn: Turn | None = None  # the one last taken; a worker may hear of it before its test begins
        self._noted: tuple[int, str, bool] | None = None  # what was last journalled of a turn
        self._given = os.environ.get(RUN_DIRECTORY_VARIABLE, "")
        self._run_dir: Path | None = Path(self._given) if self._given else None
        self._own: OwnRun | None = None
        self._plan: Plan | None = None
        self._interrupted: EndReason | None = None
        self._ends = False
        self._stopped: LoadProcess | None = None  # the last that was, or is being
        self._stopping = BoundedSemaphore()  # held while a test is being stopped
        self.steered_by: Steering | None = None
        self._is_master = isinstance(environment.runner, MasterRunner)
        self._is_worker = isinstance(environment.runner, WorkerRunner)
        if self._run_dir is not None:
            self._plan = _plan_of(self._run_dir)
            self._check_room(self._plan)
        elif self._is_headless and not self._is_worker:
            plain(environment.host)  # say now what is wrong with it
            check_writable(OWN_RUNS)
        self._keep_fitting_users()
        gevent.spawn(keep_small, environment.runner)
        self._listen()
        self._roster = self._new_roster() if self._is_master else None
        if self._is_worker:
            self._join()

    def _keep_fitting_users(self) -> None:
        """Several locustfiles may be loaded at once (`-f locustfiles`): users of the other kind of target stay away."""
        through = self._plain is not plain_plan if self._plan is None else self._plan.gateway is not None
        classes = self.environment.user_classes
        others = [found for found in classes if getattr(found, "through_gateway", through) is not through]
        if len(others) < len(classes):
            for found in others:
                classes.remove(found)

    def _check_room(self, plan: Plan) -> None:
        """A master has no users; the others share them."""
        if not self._is_master:
            share = Share.of(plan, 1, int(os.environ.get(PROCESSES_VARIABLE, "1")))
            check_handles(share.users + share.sockets_alone, share.users)

    def _join(self) -> None:
        """Tell the master that its words are heard from now on. Locust may have begun a test before that."""
        runner = self.environment.runner
        runner.send_message(PLACE_MESSAGE, place())
        if runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
            self._test_start()

    def _new_roster(self) -> Roster:
        return Roster(self.environment.runner, lambda: self.process, self._deal_anew)

    @property
    def _is_headless(self) -> bool:
        options = self.environment.parsed_options
        return options is not None and bool(options.headless)

    @property
    def plan(self) -> Plan:
        """The plan of the test that runs, or of the run this process belongs to."""
        if self._plan is None:
            raise UsageError("no test is running", "The plan is known from test_start on.")
        return self._plan

    @property
    def is_idle(self) -> bool:
        """Whether no prompt is open in any process, as each has told since the last turn."""
        if self.process is None:
            return False
        if self._roster is None:
            return self._is_idle_here()
        return self._roster.is_idle and self.process.in_flight == 0  # a master sends canaries

    def _is_idle_here(self) -> bool:
        return self._load is not None and self._turn is not None and self._load.is_idle(self._turn)

    def take(self, turn: Turn) -> None:
        """The course of the test takes a turn: journal it, and tell all processes."""
        self._turn = turn
        self._note_turn()
        self._take_turn()
        self._tell_turn(turn)

    def _tell_turn(self, turn: Turn, from_ns: int = 0) -> None:
        """Deal what is due from `from_ns` on to the load processes there are now."""
        if self._roster is not None:
            self._roster.turn_taken(turn.count)
            told = turn.dealt(self._roster.deal, from_ns)
            self.environment.runner.send_message(_TURN_MESSAGE, told.to_message())

    def _deal_anew(self) -> None:
        """The load processes that share the load are others than before."""
        if self._turn is not None:
            self._tell_turn(self._turn, self.clock.now_ns() + round(DEAL_AHEAD_S * NS_PER_S))

    def _note_turn(self) -> None:
        turn, process = self._turn, self.process
        if turn is None or process is None or (turn.stage, turn.phase, turn.draining) == self._noted:
            return
        self._noted = (turn.stage, turn.phase, turn.draining)
        kind = "draining" if turn.draining else "phase"
        process.event(kind, subject=turn.phase, detail=turn.in_words(self.plan.stages), at_ns=turn.began_ns)

    def cut_short(self, number: int) -> None:
        """The test reached its longest duration in the stage of this number: nothing more is sent."""
        if self.process is not None:
            limit = format_duration(self.plan.max_duration_s or 0.0)
            detail = f"max_duration of {limit} was reached in stage {number + 1} of {len(self.plan.stages)}"
            self.process.event("cut_short", subject="max_duration", detail=detail)

    def _listen(self) -> None:
        events, runner = self.environment.events, self.environment.runner
        events.test_start.add_listener(self._guarded(self._test_start))
        events.test_stop.add_listener(self._guarded(self._test_stop))
        events.quitting.add_listener(self._guarded(self._quitting))
        events.quit.add_listener(self._guarded(self._end_own_run))
        if self._is_worker:
            runner.register_message(_TURN_MESSAGE, self._on_turn)
            runner.register_message(_RUN_MESSAGE, self._on_run)
            runner.register_message(_INTERRUPTED_MESSAGE, self._on_interrupted)
            if getattr(self.environment.parsed_options, "processes", None):
                gevent.spawn(_end_with, os.getppid())

    def _guarded(self, listener: Callable[[], None]) -> Callable[..., None]:
        """An error of ours ends the test with its message: no traceback, no test without a recording."""

        def listen(**_: Any) -> None:
            try:
                listener()
            except ComfySoakError as error:
                self.environment.process_exit_code = int(error.exit_code)
                hub = gevent.get_hub()
                hub.NOT_ERROR = (*hub.NOT_ERROR, StopTest)  # or gevent prints a traceback beside the message
                raise StopTest(str(error)) from error  # Locust logs it, and quits or stops the test

        return listen

    # Locust's events

    def _test_start(self) -> None:
        if self._run_dir is None:
            self._make_own_run()
        elif self._plan is None or not self._given:
            self._plan = _plan_of(self._run_dir)
        assert self._run_dir is not None  # noqa: S101  # made just now
        index = 0 if self._is_master else max(self.environment.runner.worker_index, 0)
        name = "load-master" if self._is_master else f"load-{index}"
        journal = new_journal(self._run_dir, self.clock, name)
        self.process = LoadProcess(self.plan, journal, self.clock, name=name, index=index)
        self.process.start()
        if not self._is_master:
            self._load = TurnLoad(self.process, self._run_dir, fire_of(self.environment))
        if self.plan.canary is not None and not self._is_worker:
            folder = Layout(self._run_dir).canary
            self._canaries = Canaries(self.process, self.plan.canary, folder, self._is_loading)
            self._canaries.start()
        self._take_turn()
        self._heed_sigterm()

    def _heed_sigterm(self) -> None:
        """Locust installs its handler after a headless shape has ended; until then SIGTERM would kill us as we are."""
        if self._is_headless and not self._is_worker and self.environment.shape_class is not None:
            gevent.signal_handler(signal.SIGTERM, self._terminated)

    def _terminated(self) -> None:
        """Take back what is open, and end: for Locust, as if its shape had ended."""
        shape = self.environment.runner.shape_greenlet
        if shape is not None:
            self._quitting()
            shape.kill(block=False)

    def _is_loading(self) -> bool:
        """Whether there is load now: not while servers settle, or start cold."""
        return self._turn is not None and self._turn.sends

    def _make_own_run(self) -> None:
        self._plan = self._plain(self.environment.host)
        check_handles(self._plan.sockets_most)
        self._own = OwnRun.begin(OWN_RUNS, self._plan, self.clock)
        self._run_dir = self._own.path
        _log.info("Recording to %s", self._run_dir)
        if self._is_master:
            self.environment.runner.send_message(_RUN_MESSAGE, {"directory": str(self._run_dir.absolute())})

    def _test_stop(self) -> None:
        with self._stopping:
            self._stop()

    def _stop(self) -> None:
        steered_by, self.steered_by = self.steered_by, None
        if steered_by is not None:
            steered_by.stop()
        process, self.process = self.process, None
        load, self._load, self._turn, self._noted = self._load, None, None, None
        canaries, self._canaries = self._canaries, None
        if load is not None:
            load.stop()
        if canaries is not None:
            canaries.stop()
        if process is not None:
            self._stopped = process
            process.stop(self._grace_s(), self._why_cut_off())
            if process.own_errors:
                self.environment.process_exit_code = int(ExitCode.OUR_ERROR)
        if steered_by is not None:
            steered_by.clear_up()
        if not (self._is_master and (self._ends or self._is_headless)):
            self._end_own_run()

    def _end_own_run(self) -> None:
        """Seal. A master that quits does so only after it has told its workers, who write until then."""
        own, self._own = self._own, None
        if own is not None:
            own.end(self._interrupted or EndReason.FINISHED, self.clock)
            _log.info("Recorded in %s; its report: comfysoak report %s", own.path, own.path)
            self._run_dir = None

    def _quitting(self) -> None:
        """Locust ends. When a test is still running then, somebody has interrupted it.

        A stop that is under way, as when a lost master sent its last word before the signal came, is waited for: its
        open prompts are still to be taken back and written, now without any grace.
        """
        self._ends = True
        if self._stopped is not None:
            self._stopped.hurry()
        with self._stopping:
            pass
        if self.process is not None and self.environment.runner.state != STATE_STOPPED:
            is_signal = gevent.getcurrent() is not gevent.get_hub().parent  # Locust handles SIGTERM in a greenlet
            self._interrupted = EndReason.TERMINATED if is_signal else EndReason.INTERRUPTED
            if self._is_master:
                self.environment.runner.send_message(_INTERRUPTED_MESSAGE, {"reason": self._interrupted.value})

    def _why_cut_off(self) -> str | None:
        """What the worker machine says of the end of its load, when that is not the end of the run."""
        if not self._is_worker or self._run_dir is None:
            return None
        try:
            return Layout(self._run_dir).cut_off.read_text(encoding="utf-8")
        except OSError:
            return None

    def _grace_s(self) -> float:
        if self._interrupted is not None:
            return 0.0
        if self._is_worker:
            return WORKER_GRACE_S
        asked = float(self.environment.stop_timeout or 0.0)
        return asked or STOP_GRACE_S

    # Messages between processes

    def _on_turn(self, environment: Any, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's signature
        self._turn = Turn.from_message(msg.data)
        self._take_turn()

    def _take_turn(self) -> None:
        """The turn last told, in this process; its message may have come before the test began here."""
        turn, process = self._turn, self.process
        if process is None or turn is None:
            return
        process.phase = turn.phase
        if not turn.attended:
            for target in process.targets:
                target.starts_anew()
        if self._load is None:
            return
        stage = self.plan.stages[turn.stage].at_level(turn.level)
        self._load.take(turn, stage, turn.part_of(getattr(self.environment.runner, "client_id", "")))
        if self._is_worker and not turn.sends:
            gevent.spawn(self._tell_when_idle, turn)

    def _tell_when_idle(self, turn: Turn) -> None:
        while self._turn is turn and self.process is not None:
            if self._is_idle_here():
                self.process.journal.flush()  # who hears of it may read what has ended
                self.environment.runner.send_message(IDLE_MESSAGE, {"turn": turn.count})
                return
            gevent.sleep(IDLE_EVERY_S)

    def _on_run(self, environment: Any, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's signature
        self._run_dir = Path(msg.data["directory"])

    def _on_interrupted(self, environment: Any, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's signature
        self._interrupted = EndReason(msg.data["reason"])


def _end_with(parent: int) -> None:
    """A worker that was forked on this machine ends with its master, however that ends."""
    while os.getppid() == parent:
        gevent.sleep(PARENT_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


def _plan_of(run_dir: Path) -> Plan:
    return Plan.model_validate(Recording.open(run_dir).run.plan)

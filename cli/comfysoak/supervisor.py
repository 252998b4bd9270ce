"""A run from its first process to its verdict: starts them, watches them, ends them, seals, says why it ended.

    simulator (embedded target only) -> recorder, sampler -> Locust ... -> all ended, recording sealed -> report

Whatever happens, the recording is sealed and its end has a name. A sampler or recorder that dies is started again
and the gap is told; a load process that dies ends the run.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from comfysoak.children import Child, locust_arguments, start, wait_for_line
from comfysoak.goal_watch import GoalWatch
from comfysoak.machines.crew import Crew
from comfysoak.preflight import server_facts
from comfysoak.referee import Referee
from comfysoak.reporting import ReportProcess
from comfysoak_core.clock import ANCHOR_VARIABLE, Anchor, AnchoredClock
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.errors import ComfySoakError, ExitCode
from comfysoak_core.recording.journal import Journal
from comfysoak_core.recording.layout import RUN_DIRECTORY_VARIABLE
from comfysoak_core.recording.recording import Recording
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.recording.tail import NewRows, Tail
from comfysoak_core.rows import Event
from comfysoak_core.scenario.plan import GpuSource, Plan
from comfysoak_load.process.room import PROCESSES_VARIABLE

TICK_S = 0.25
READY_WITHIN_S = 30.0
FIRST_SAMPLE_WITHIN_S = 10.0
LOAD_ENDS_WITHIN_S = 3.0
OTHERS_END_WITHIN_S = 1.5
RESTARTS_MOST = 5
OVERTIME_S = 120.0


@dataclass(frozen=True, slots=True)
class End:
    """Why a run ended: the reason in `run.json`, the exit code it forces (None: the verdict's), words for people."""

    reason: EndReason
    exit_code: ExitCode | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What a call may choose beside its scenario. With a `crew` the load is made by worker machines."""

    processes: int = 1
    web: bool = False
    crew: Crew | None = None


Watch = Callable[[str, Sequence[NewRows]], None]
"""Called with the state of the run (`starting`, `running`, ...) and the new batches of the journal."""


@dataclass(slots=True)
class Interruption:
    """The signal that asked the run to end, if any."""

    end: End | None = None

    def take(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: remember the first."""
        if self.end is None:
            self.end = _ENDS[signal.Signals(number)]


_ENDS = {
    signal.SIGINT: End(EndReason.INTERRUPTED, ExitCode.INTERRUPTED, "Ctrl-C"),
    signal.SIGTERM: End(EndReason.TERMINATED, ExitCode.TERMINATED, "SIGTERM"),
    signal.SIGHUP: End(EndReason.TERMINATED, ExitCode.TERMINATED, "SIGHUP, as when a terminal is closed"),
}


@contextmanager
def signals_remembered() -> Iterator[Interruption]:
    """SIGINT, SIGTERM and SIGHUP end the run in good order instead of ending this process.

    One that is ignored stays so: that is what `nohup` is for.
    """
    interruption = Interruption()
    heeded = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interruption.take) for number in heeded}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class Supervisor:
    """The processes of one run and its recording."""

    recording: Recording
    plan: Plan
    options: Options
    interruption: Interruption
    clock: AnchoredClock
    watch: Watch
    journal: Journal = field(init=False)
    tail: Tail = field(init=False)
    referee: Referee = field(init=False)
    goals: GoalWatch = field(init=False)
    children: dict[str, Child] = field(default_factory=dict)
    report: ReportProcess | None = None
    restarts: int = 0
    cut_short: str = ""  # why not all stages were run, as the load told

    def __post_init__(self) -> None:
        self.journal = Journal(
            self.recording.layout.journal, host=os.uname().nodename, process="supervisor", clock=self.clock
        )
        self.tail = Tail(self.recording.layout.journal)
        self.referee = Referee(self.recording.path, self.plan, self.recording.layout.logs / "trials.log")
        self.goals = GoalWatch(self.recording.path, self.plan.aborts, self.recording.layout.logs / "goals.log")

    def run(self) -> End:
        """Run to the end, whatever it is; all children are gone and the recording is sealed afterwards."""
        end = End(EndReason.ABORTED, ExitCode.OUR_ERROR, "an error of ours")
        try:
            self._start()
            end = self._watch_load()
        except ComfySoakError as error:
            end = End(EndReason.ABORTED, error.exit_code, str(error))
            raise
        finally:
            self._stop(end)
        return end

    def make_report(self) -> dict[str, object]:
        """Make the report of the run that has ended; its verdict."""
        return (self.report or ReportProcess(self.recording.path)).make()

    def _start(self) -> None:
        """Start one after the other, for as long as nobody asks for the end."""
        if self._is_interrupted() or (self.plan.embedded is not None and not self._start_simulator()):
            return
        self.children["recorder"] = self._child("recorder")
        self.children["sampler"] = self._child("sampler")
        self._wait_for_samples()
        if self.options.crew is not None:
            self.options.crew.hand_over(self.recording.path, self.recording.run.id, self._is_interrupted)
        if not self._is_interrupted():
            self.children["load"] = self._child("load")
            if self.options.crew is not None:
                self.options.crew.master.begin()

    def _is_interrupted(self) -> bool:
        return self.interruption.end is not None

    def _start_simulator(self) -> bool:
        """Whether it answers; False when the run was interrupted before."""
        assert self.plan.embedded is not None  # noqa: S101  # the caller looked
        config = self.recording.layout.logs / "simulator.json"
        config.write_text(self.plan.embedded.model_dump_json(by_alias=True, indent=1), encoding="utf-8")
        simulator = self.children["simulator"] = self._child("simulator")
        ready = wait_for_line(simulator, '{"servers"', READY_WITHIN_S, give_up=self._is_interrupted)
        if ready is None:
            return False
        told = json.loads(ready)
        servers, gateway = tuple(told["servers"]), self.plan.gateway
        if gateway is not None:
            gateway = gateway.model_copy(update={"url": told["gateway"]})
        probes = self.plan.probes
        if not probes.gpu:
            exporters = tuple(GpuSource(kind="dcgm", url=f"{server}/metrics") for server in servers)
            probes = probes.model_copy(update={"gpu": exporters})
        self.plan = self.plan.model_copy(update={"servers": servers, "gateway": gateway, "probes": probes})
        self.recording.save(self.recording.run.model_copy(update={
            "plan": self.plan.model_dump(mode="json"),
            "servers": tuple(server_facts(ComfyClient(server), server) for server in servers),
        }))  # fmt: skip
        return True

    def _child(self, role: str) -> Child:
        run_dir = self.recording.path
        environment = {
            ANCHOR_VARIABLE: self.clock.anchor.to_environment(),
            RUN_DIRECTORY_VARIABLE: str(run_dir),
            PROCESSES_VARIABLE: str(self._processes),
        }
        arguments = self._arguments(role)
        return start(role, arguments, environment, self.recording.layout.logs)

    def _arguments(self, role: str) -> list[str]:
        run_dir = str(self.recording.path)
        match role:
            case "simulator":
                return [
                    "comfysoak_simulator",
                    "--config",
                    str(self.recording.layout.logs / "simulator.json"),
                    "--port",
                    "0",
                ]
            case "recorder":
                return ["comfysoak_core.recording.recorder", run_dir]
            case "sampler":
                return ["comfysoak_probes", run_dir]
            case _:
                return locust_arguments(self._locust_options(), gateway=self.plan.gateway is not None)

    def _locust_options(self) -> list[str]:
        arguments = ["--host", self.plan.address]
        arguments += ["--autostart", "--autoquit", "0"] if self.options.web else ["--headless"]
        if self.options.crew is not None:
            arguments += self.options.crew.locust_arguments()
        elif self.options.processes > 1:
            port = str(_free_port())  # two runs on one host must not share their workers
            arguments += ["--processes", str(self.options.processes), "--master-bind-port", port, "--master-port", port]
            arguments += ["--enable-rebalancing"]
        return arguments

    @property
    def _processes(self) -> int:
        """Load processes, on all machines."""
        return self.options.crew.processes if self.options.crew is not None else self.options.processes

    def _wait_for_samples(self) -> None:
        """Load begins when watching has begun, so that the report shows the machine before it."""
        deadline = time.monotonic() + FIRST_SAMPLE_WITHIN_S
        while time.monotonic() < deadline and not self._is_interrupted():
            batches = self._look("starting")
            if any(batch.table in ("host", "gpu", "server") for batch in batches):
                return
            time.sleep(TICK_S / 5)

    def _watch_load(self) -> End:
        began_s = time.monotonic()
        deadline = began_s + self.plan.longest_s + OVERTIME_S
        while True:
            self._look("running")
            end = self.interruption.end or self._ended(deadline) or self._missed(time.monotonic() - began_s)
            if end is not None:
                return end
            time.sleep(TICK_S)

    def _ended(self, deadline: float) -> End | None:
        load, simulator = self.children["load"], self.children.get("simulator")
        if load.exit_status is not None:
            if load.exit_status == 0:
                return self._ended_well()
            return End(EndReason.ABORTED, None, f"{load.describe_end()}\n{load.last_words()}")
        if simulator is not None and simulator.exit_status is not None:
            return End(EndReason.ABORTED, None, f"{simulator.describe_end()}\n{simulator.last_words()}")
        if not self.options.web and time.monotonic() > deadline:
            return End(EndReason.ABORTED, None, f"the load did not end {OVERTIME_S:.0f} s after it should have")
        for role in ("recorder", "sampler"):
            self._keep_alive(role)
        why = self._hear_of_machines()
        return End(EndReason.ABORTED, None, why) if why is not None else None

    def _missed(self, load_s: float) -> End | None:
        """Whether a goal ends the run."""
        why = self.goals.look(load_s)
        return End(EndReason.GOAL_MISSED, None, why) if why is not None else None

    def _hear_of_machines(self) -> str | None:
        """Journal what happened to worker machines; why the run cannot go on without them."""
        if self.options.crew is None:
            return None
        for event in self.options.crew.events():
            self.journal.add_now(event)
        return self.options.crew.why_ended()

    def _ended_well(self) -> End:
        self._look("running")  # its last words
        return End(EndReason.TIME_UP, None, self.cut_short) if self.cut_short else End(EndReason.FINISHED)

    def _keep_alive(self, role: str) -> None:
        child = self.children[role]
        if child.exit_status is None or self.restarts >= RESTARTS_MOST:
            return
        self.restarts += 1
        again = self.restarts < RESTARTS_MOST
        detail = f"{child.describe_end()}; {'it was started again' if again else 'it is not started any more'}"
        self.journal.add_now(
            Event(at_ns=self.clock.now_ns(), source="supervisor", kind="child_died", subject=role, detail=detail)
        )
        if again:
            self.children[role] = self._child(role)

    def _look(self, state: str) -> list[NewRows]:
        batches = self.tail.poll()
        if "load" in self.children:
            self.referee.look(batches, self.children["load"].say)
        for batch in batches:
            if batch.table == Event.TABLE:
                self._hear_of_the_end(batch)
        self.watch(state, batches)
        return batches

    def _hear_of_the_end(self, batch: NewRows) -> None:
        kind, detail = batch.columns.index("kind"), batch.columns.index("detail")
        for row in batch.rows:
            if row[kind] == "cut_short":
                self.cut_short = str(row[detail])

    def _stop(self, end: End) -> None:
        self.report = ReportProcess(self.recording.path)  # it starts up while the others end
        self.watch("ending", [])
        crew, at_once = self.options.crew, end.reason not in {EndReason.FINISHED, EndReason.TIME_UP}
        if crew is not None:
            crew.end(at_once=at_once)
        if "load" in self.children:
            self.children["load"].end(LOAD_ENDS_WITHIN_S)
        for event in crew.gather(at_once=at_once) if crew is not None else ():
            self.journal.add_now(event)
        if "sampler" in self.children:  # before what it watches goes
            self.children["sampler"].end(OTHERS_END_WITHIN_S)
        others = [self.children[role] for role in ("recorder", "simulator") if role in self.children]
        for child in others:
            child.terminate()
        for child in others:
            child.wait_or_kill(OTHERS_END_WITHIN_S)
        self.journal.add_now(
            Event(at_ns=self.clock.now_ns(), source="supervisor", kind="end", subject=end.reason, detail=end.detail)
        )
        self.journal.close()
        self._look("sealing")
        self.referee.close()
        self.goals.close()
        self.recording.seal(end.reason, self.clock.now_ns(), detail=end.detail)


def new_clock() -> AnchoredClock:
    """The clock of a new run."""
    return AnchoredClock(Anchor.take())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

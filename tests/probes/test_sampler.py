"""The sampler as a process: what it writes, how it ends, what it costs to have it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from comfysoak_core.clock import ANCHOR_VARIABLE, NS_PER_S, Anchor, AnchoredClock
from comfysoak_core.lifeline import LIFELINE_VARIABLE
from comfysoak_core.rows import ClockReading, Event, Row
from comfysoak_core.scenario import plan as scenario
from comfysoak_core.scenario.plan import GpuSource, Plan, Probes
from comfysoak_core.scenario.workload import Workload
from comfysoak_probes.config import Pause, RemoteProbe, SamplerConfig
from comfysoak_probes.sampling.sampler import Sampler, Stop
from tests.probes.answering import answering, free_port, http
from tests.probes.conftest import Sample
from tests.probes.sampling import at_least, has

FORBIDDEN = ("pandas", "pyarrow", "plotly", "locust", "gevent", "pydantic", "numpy", "rich")


def test_rows_of_host_processes_and_clocks_come_each_second(sample: Sample) -> None:
    """Without any GPU or server the host, the sampler itself and the clock are recorded."""
    run = sample(gpu=[])
    host = run.wait_for("host", at_least(3))[-1]
    assert 0 <= host["cpu_ratio"] <= 1
    assert host["memory_total_bytes"] > host["memory_available_bytes"] > 0
    own = run.wait_for("processes", lambda rows: any(row["cpu_ratio"] is not None for row in rows))[-1]
    assert (own["role"], own["pid"]) == ("sampler", run.process.pid)
    assert own["rss_bytes"] < 60e6
    assert abs(run.wait_for("clocks", at_least(2))[-1]["offset_ns"]) < NS_PER_S


def test_times_are_those_of_the_anchor(sample: Sample) -> None:
    """A run whose clock says 2033 has samples of 2033, whatever the system clock says."""
    anchor = Anchor.take()
    future_ns = 2_000_000_000 * NS_PER_S
    moved = Anchor(anchor.monotonic_ns, future_ns, anchor.error_ns)
    run = sample(gpu=[], environment={ANCHOR_VARIABLE: moved.to_environment()})
    rows = run.wait_for("host", at_least(2))
    assert all(future_ns < row["at_ns"] < future_ns + 600 * NS_PER_S for row in rows)


def test_sigterm_ends_it_with_everything_on_disk(sample: Sample) -> None:
    """Exit status 0, and no second of samples is lost before it."""
    run = sample(gpu=[], host_every_s=0.1)
    run.wait_for("host", at_least(5))
    assert run.end() == 0
    rows = run.rows("host")
    assert all(later["at_ns"] - earlier["at_ns"] < 2 * NS_PER_S for earlier, later in pairwise(rows))


def test_it_does_not_outlive_its_supervisor(sample: Sample) -> None:
    """The lifeline closes: it ends by itself."""
    run = sample(gpu=[], environment={LIFELINE_VARIABLE: "1"})
    run.wait_for("host", at_least(1))
    assert run.process.stdin is not None
    run.process.stdin.close()
    assert run.process.wait(10) == 0


def test_killed_at_once_what_was_sampled_is_there(sample: Sample) -> None:
    """SIGKILL: rows of up to a second ago can be read."""
    run = sample(gpu=[], host_every_s=0.1)
    count = len(run.wait_for("host", at_least(8)))
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait(10)
    assert len(run.rows("host")) >= count


def test_a_server_that_comes_and_goes_is_rows_and_events(sample: Sample) -> None:
    """Down, up, answering nonsense: the process goes on and the journal tells each."""
    port = free_port()
    queue = http('{"queue_running": [], "queue_pending": []}')
    run = sample(gpu=[], servers=[f"http://127.0.0.1:{port}"], server_every_s=0.1, log="off")
    assert run.event("server_down")["code"] == "SERVER_DOWN"
    with answering(lambda method, path: queue if path == "/queue" else http("<html>"), port):
        run.wait_for("server", has(queue_pending=0))
        run.event("source_found")
    assert run.process.poll() is None


def test_the_process_that_listens_is_the_server(sample: Sample) -> None:
    """Found by its port, with its CPU and memory; when it ends that is told."""
    port = free_port()
    code = f"import socket,time; s=socket.create_server(('127.0.0.1',{port})); print(1,flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        run = sample(gpu=[], servers=[f"http://127.0.0.1:{port}"], host_every_s=0.1, server_every_s=60, log="off")
        row = run.wait_for("processes", has(role="server", pid=listener.pid))[-1]
        assert row["server"] == f"http://127.0.0.1:{port}" or row["role"] == "sampler"
        assert f"process {listener.pid}" in run.event("server_process")["detail"]
        listener.kill()
        listener.wait()
    assert f"process {listener.pid}" in run.event("server_process_gone")["detail"]


def test_lines_of_a_log_file_become_rows(sample: Sample, tmp_path: Path) -> None:
    """A log file on this host, named in the plan."""
    log = tmp_path / "comfyui.log"
    log.write_text("got prompt\n", encoding="utf-8")
    run = sample(gpu=[], servers=[f"http://127.0.0.1:{free_port()}"], log=str(log))
    run.event("log_source")
    with log.open("a", encoding="utf-8") as file:
        file.write("Requested to load SDXL\n")
    (row,) = run.wait_for("server_log", at_least(1))
    assert (row["kind"], row["model"], row["source"]) == ("model_requested", "SDXL", "file")


def test_it_stays_light() -> None:
    """Nothing heavy is imported by the sampler: it runs beside a server for days."""
    code = f"import sys, comfysoak_probes.__main__; print([m for m in {FORBIDDEN!r} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), (b"{", "cannot be read"), (b"{}", "holds no plan"), (b'{"plan": []}', "holds no plan")],
)
def test_a_directory_that_is_no_run_is_one_clear_error(tmp_path: Path, content: bytes | None, words: str) -> None:
    """No run.json, a broken one, one without a plan: exit code 3 and two lines, no traceback."""
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    command = [sys.executable, "-m", "comfysoak_probes", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 3
    assert words in said.stderr
    assert "Traceback" not in said.stderr


def test_the_plan_is_read_as_the_scenario_writes_it(tmp_path: Path) -> None:
    """What the plan's model writes into run.json is what the sampler reads from it, field by field."""
    gpu = (
        GpuSource(kind="nvml"), GpuSource(kind="dcgm", url="http://g:9400/metrics"),
        GpuSource(kind="probe", url="http://h:9410", token_variable="PROBE_TOKEN"),
    )  # fmt: skip
    probes = Probes(
        gpu=gpu, every_s=0.25, host_every_s=2.0, server_every_s=3.0, log="/var/log/comfyui.log",
        pause=scenario.Pause(every_s=600, lasts_s=60),
    )  # fmt: skip
    work = (Workload(name="w", graph={}),)
    plan = Plan(
        name="n", servers=("http://a:8188",), token_variable="MY_TOKEN", workloads=work, stages=(), probes=probes
    )
    (tmp_path / "run.json").write_bytes(orjson.dumps({"plan": plan.model_dump(mode="json")}))
    assert SamplerConfig.from_run(tmp_path, {"MY_TOKEN": "t", "PROBE_TOKEN": "p"}) == SamplerConfig(
        nvml=True, dcgm=("http://g:9400/metrics",), every_s=0.25, host_every_s=2.0, server_every_s=3.0,
        servers=("http://a:8188",), log="/var/log/comfyui.log", token="t", disk=str(tmp_path),
        probes=(RemoteProbe("http://h:9410", "p"),), pause=Pause(600.0, 60.0),
    )  # fmt: skip


def test_defaults_are_those_of_the_plan(tmp_path: Path) -> None:
    """A plan that names no probes is watched as often as the plan's model says."""
    plan = Plan(name="n", workloads=(Workload(name="w", graph={}),), stages=())
    (tmp_path / "run.json").write_bytes(orjson.dumps({"plan": plan.model_dump(mode="json", exclude={"probes"})}))
    config = SamplerConfig.from_run(tmp_path, {})
    assert (config.nvml, config.dcgm, config.token) == (True, (), None)
    probes = plan.probes
    told = (config.every_s, config.host_every_s, config.server_every_s, config.log)
    assert told == (probes.every_s, probes.host_every_s, probes.server_every_s, probes.log)


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.closed = False

    def take(self, rows: Iterable[Row]) -> None:
        self.rows += rows

    def close(self) -> None:
        self.closed = True


class NoWaiting(Stop):
    """Time is what the clock of the test says it is."""

    def wait(self, seconds: float) -> bool:
        return self.asked


def test_a_step_of_the_system_clock_is_told_and_moves_no_sample() -> None:
    """The system clock jumps by an hour: the next clock reading has the step, and times go on as before."""
    times = {"system": 10**18, "monotonic": 0}

    def monotonic() -> int:
        times["monotonic"] += NS_PER_S // 20
        return times["monotonic"]

    def system() -> int:
        jumped = 3600 * NS_PER_S if times["monotonic"] > 20 * NS_PER_S else 0
        return times["system"] + times["monotonic"] + jumped

    clock = AnchoredClock(Anchor(0, 10**18, 0), monotonic, system)
    sink = Kept()
    sampler = Sampler(sink, clock, host="h", tell=print)
    stop = NoWaiting()
    sampler.run(stop, until_ns=10**18 + 40 * NS_PER_S)
    steps = [row.step_ns for row in sink.rows if isinstance(row, ClockReading)]
    assert [round(step / NS_PER_S) for step in steps if step] == [3600]
    assert max(row.at_ns for row in sink.rows if isinstance(row, ClockReading)) < 10**18 + 60 * NS_PER_S
    assert sink.closed
    stop.close()


class Stopped(Stop):
    """Waits as long as it was asked to, and the third time 30 s longer: the whole process was stopped."""

    def __init__(self, pass_time: Callable[[float], object]) -> None:
        super().__init__()
        self._pass_time = pass_time
        self._waits = 0

    def wait(self, seconds: float) -> bool:
        self._waits += 1
        self._pass_time(seconds + (30 if self._waits == 3 else 0))
        return self.asked


def lost_time(*, suspended: Callable[[], int] = lambda: 0, stopped: bool) -> list[Event]:
    """Events of a sampler that runs for a minute of its own time."""
    times = {"now": 10**18}

    def pass_time(seconds: float) -> None:
        times["now"] += round(seconds * NS_PER_S)

    clock = AnchoredClock(Anchor(0, 0, 0), lambda: times["now"], lambda: times["now"])
    sink, stop = Kept(), Stopped(pass_time) if stopped else NoWaiting()
    sampler = Sampler(sink, clock, host="h", tell=print, suspended=suspended)
    if not stopped:
        stop.wait = lambda seconds: pass_time(seconds) or False  # type: ignore[method-assign, func-returns-value]
    sampler.run(stop, until_ns=10**18 + 60 * NS_PER_S)
    stop.close()
    return [row for row in sink.rows if isinstance(row, Event)]


def test_a_sampler_that_was_stopped_says_so() -> None:
    """Once, with how long it had no time."""
    (event,) = lost_time(stopped=True)
    assert (event.kind, event.subject) == ("sampler_stalled", "h")
    assert "no time for 30.0 s" in event.detail


def test_a_suspended_host_is_told() -> None:
    """The run's clock stands still in a suspension, so nothing else would show it."""
    slept = iter([0, 0, 0, *[90 * NS_PER_S] * 10_000])
    (event,) = lost_time(suspended=lambda: next(slept), stopped=False)
    assert (event.kind, event.subject) == ("host_suspended", "h")
    assert "suspended for 90.0 s" in event.detail


def test_after_a_stop_there_is_one_gap_and_no_burst(sample: Sample) -> None:
    """SIGSTOP and SIGCONT: one late reading, skipped ones are told, and then each at its deadline as before."""
    run = sample(gpu=[], host_every_s=0.1)
    run.wait_for("host", at_least(5))
    os.kill(run.process.pid, signal.SIGSTOP)
    time.sleep(2.5)  # the length of the gap, which nothing could wait for
    os.kill(run.process.pid, signal.SIGCONT)
    run.event("sampler_stalled")
    before = len(run.rows("host"))
    moments = [row["at_ns"] for row in run.wait_for("host", at_least(before + 10))]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len([gap for gap in gaps if gap > 2 * NS_PER_S]) == 1
    since = gaps.index(max(gaps)) + 1
    assert moments[since + 8] - moments[since] > 0.6 * NS_PER_S  # eight readings take eight intervals, no burst
    late = run.event("source_late")
    assert int(late["detail"].split()[0]) >= 20
    assert not [row for row in run.rows("events") if row["kind"] in {"source_hung", "source_found"}]

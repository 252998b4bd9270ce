"""A run that watches GPUs by a probe on another machine: the sampler, a real probe, and a network that fails."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from comfysoak_core.clock import ANCHOR_VARIABLE, NS_PER_S, Anchor, AnchoredClock, ManualClock
from comfysoak_core.rows import Event
from comfysoak_probes.config import RemoteProbe, SamplerConfig
from comfysoak_probes.remote.source import ProbeSource
from comfysoak_probes.source import Tick
from tests.probes.answering import answering, http
from tests.probes.conftest import Sample
from tests.probes.cuttable import Cut, Network
from tests.probes.far_probe import FarProbe
from tests.probes.sampling import Record, Sampling, at_least, has

Far = Callable[..., FarProbe]
TWO_GPUS = "gpus 2\n"


@pytest.fixture
def far(tmp_path: Path, driver: Path) -> Iterator[Far]:
    """Starts probes that listen beside a stand-in driver, and ends them with the test."""
    started: list[FarProbe] = []

    def start(*options: str, **more: Any) -> FarProbe:
        started.append(FarProbe.start(tmp_path, *options, **{"driver": driver, "script": TWO_GPUS, **more}))
        return started[-1]

    yield start
    for probe in started:
        probe.end()


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, driver: Path) -> Iterator[FarProbe]:
    """One for all tests that leave it as it is."""
    started = FarProbe.start(tmp_path_factory.mktemp("far"), driver=driver, script=TWO_GPUS)
    yield started
    started.end()


def watching(sample: Sample, url: str, **options: Any) -> Sampling:
    """A sampler whose only GPUs are those of the probe."""
    return sample(gpu=[{"kind": "probe", "url": url, **options.pop("source", {})}], **options)


def keys(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """What a row is known by wherever it is: moments are moved to the run's clock, the rest stays as it was."""
    places = [columns.index(name) for name in ("uuid", "read_cost_ns", "late_ns")]
    return [tuple(row[place] for place in places) for row in rows]


def assert_whole(rows: list[Record], probe: FarProbe) -> None:
    """Every row the probe has sampled since the first of these is there, once, up to the last of them."""
    here = Counter((row["uuid"], row["read_cost_ns"], row["late_ns"]) for row in rows)
    head, batches = probe.batches()
    there = [key for table, _, part in batches if table == "gpu" for key in keys(head["columns"]["gpu"], part)]
    found = [index for index, key in enumerate(there) if key in here]
    assert len(found) == len(rows) == len(here)
    assert found == list(range(found[0], found[-1] + 1))


def test_rows_of_a_far_gpu_are_in_the_journal_with_their_host(sample: Sample, probe: FarProbe) -> None:
    """GPU tables, the far host's and a reading of its clock, in the run's time."""
    began_ns = time.time_ns()
    run = watching(sample, probe.url)
    rows = run.wait_for("gpu", at_least(10))
    assert {row["source"] for row in rows} == {"nvml"}
    assert all(began_ns - NS_PER_S < row["at_ns"] < time.time_ns() for row in rows)
    run.wait_for("gpu_slow", at_least(1))
    assert len({row["host"] for row in run.rows("gpu") + run.rows("host")}) == 1
    reading = next(row for row in run.wait_for("clocks", has(clock="probe")) if row["clock"] == "probe")
    assert abs(reading["offset_ns"]) < NS_PER_S
    assert reading["error_ns"] < 50e6
    assert "a probe on" in run.event("remote_probe")["detail"]


def test_a_probe_whose_clock_is_hours_off_is_set_right(sample: Sample, far: Far) -> None:
    """Its anchor says 2033: its rows are of now, and the clock's distance is in the recording."""
    anchor = Anchor.take()
    ahead_ns = 2_000_000_000 * NS_PER_S - anchor.utc_ns
    moved = Anchor(anchor.monotonic_ns, anchor.utc_ns + ahead_ns, anchor.error_ns)
    probe = far(environment={ANCHOR_VARIABLE: moved.to_environment()})
    here = Anchor.take()
    run = watching(sample, probe.url, environment={ANCHOR_VARIABLE: here.to_environment()})
    rows = run.wait_for("gpu", at_least(10))
    now_ns = here.utc_ns + time.monotonic_ns() - here.monotonic_ns
    assert all(now_ns - 20 * NS_PER_S < row["at_ns"] < now_ns for row in rows)
    reading = next(row for row in run.wait_for("clocks", has(clock="probe")) if row["clock"] == "probe")
    assert abs(reading["offset_ns"] - ahead_ns) <= reading["error_ns"] + 1_000_000
    for row in run.rows("processes"):
        assert row["started_ns"] is None or abs(row["started_ns"] - now_ns) < 3600 * NS_PER_S


def test_no_cut_of_the_network_loses_anything(sample: Sample, probe: FarProbe) -> None:
    """Refused, reset, silent: each told once each way, and no reading of any GPU is missing or there twice."""
    with Network(probe.port) as network:
        run = watching(sample, network.url)
        run.wait_for("gpu", at_least(10))
        for number, how in enumerate((Cut.REFUSED, Cut.RESET), start=1):
            network.cut(how)
            run.wait_for("events", told("source_missing", number))
            network.mend()
            run.wait_for("events", told("source_found", number))
        network.cut(Cut.SILENT)
        time.sleep(0.8)
        network.mend()
        mended_ns = time.time_ns()
        run.wait_for("gpu", lambda rows: max(row["at_ns"] for row in rows) > mended_ns + NS_PER_S // 4)
        assert_whole(run.rows("gpu"), probe)
        kinds = Counter(row["kind"] for row in run.rows("events") if "probe http" in (row["subject"] or ""))
        assert "rows_lost" not in kinds
        assert 2 <= kinds["source_missing"] == kinds["source_found"] <= 3


def told(kind: str, times: int) -> Callable[[list[Record]], bool]:
    """An event of this kind is there so many times."""
    return lambda rows: sum(row["kind"] == kind for row in rows) >= times


def test_a_sampler_that_is_killed_is_followed_by_one_that_goes_on(sample: Sample, probe: FarProbe) -> None:
    """SIGKILL, nobody for a moment, another sampler: every reading is there, and none twice."""
    anchor = {ANCHOR_VARIABLE: Anchor.take().to_environment()}
    run = watching(sample, probe.url, environment=anchor)
    run.wait_for("gpu", at_least(10))
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    again = Sampling.start(run.folder, gpu=[{"kind": "probe", "url": probe.url}], environment=anchor)
    try:
        killed_ns = time.time_ns()
        again.wait_for("gpu", lambda rows: max(row["at_ns"] for row in rows) > killed_ns + NS_PER_S // 4)
        assert_whole(again.rows("gpu"), probe)
    finally:
        again.end()


def test_a_wrong_token_is_one_clear_line_and_the_right_one_works(sample: Sample, far: Far) -> None:
    """Without it 401; the token itself stands nowhere in the run directory."""
    token = "Zq7xVw9Kt3Lm5-probe"
    probe = far(environment={"COMFYSOAK_PROBE_TOKEN": token})
    wrong = watching(sample, probe.url, source={"token_variable": "FAR"}, environment={"FAR": "wrong"})
    right = watching(sample, probe.url, source={"token_variable": "FAR"}, environment={"FAR": token})
    assert "token" in wrong.event("source_missing")["detail"]
    right.wait_for("gpu", at_least(10))
    files = [path for run in (wrong, right) for path in run.folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not any(token.encode() in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "said",
    [
        http("<html>welcome</html>"), http('{"ring": 1}'), http('{"ring": "r", "clock_ns": "now"}'), http("[]"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf a li", http("no", 500), b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 1000, http("no", 401),
        http('{"ring": "r", "clock_ns": 99999999999999999999999}'), http(b"\xff\x00"),
    ],
)  # fmt: skip
def test_something_else_that_answers_is_told_once(said: bytes) -> None:
    """HTML, JSON of others, half a line, a gigabyte: one event with a short reason, and the next try comes later."""
    clock = AnchoredClock(Anchor.take())
    with answering(lambda method, path: [said, b""] if b"half" in said else said) as server:
        source = ProbeSource(RemoteProbe(server.url), SamplerConfig(), clock=clock)
        (event,) = source.read(Tick(0, 0))
        assert isinstance(event, Event)
        assert (event.kind, event.subject) == ("source_missing", f"probe {server.url}")
        assert 10 < len(event.detail) < 250
        first_s = source.every_s
        assert source.read(Tick(0, 0)) == []
        assert source.every_s > first_s
        source.close()


def test_wrong_rows_are_left_out_and_told_once(sample: Sample) -> None:
    """A probe that sends text for numbers, moments of another age and tables nobody knows: the good rows count."""
    columns = ["at_ns", "read_cost_ns", "host", "source", "uuid", "memory_used_bytes"]

    def answer(method: str, path: str) -> bytes:
        now_ns = time.time_ns()
        if path == "/clock":
            return http(orjson.dumps({"ring": "r", "clock_ns": now_ns}))
        after = int(path.partition("after=")[2] or 0)
        good, old = [now_ns, 1, "far", "nvml", "G", 5], [7, 1, "far", "nvml", "G", 5]
        rows = [good, [now_ns, 1, "far", "nvml", "G", "much"], old, "row"]
        head = {"format": 1, "ring": "r", "host": "far", "version": "9", "clock_ns": now_ns, "first": 1,
                "next": after + 6, "columns": {"gpu": columns}}  # fmt: skip
        lines = [orjson.dumps(each) for each in (head, ["gpu", after + 1, rows], ["new", after + 5, [[1]]])]
        return http(b"\n".join(lines))

    with answering(answer) as server:
        run = watching(sample, server.url)
        rows = run.wait_for("gpu", at_least(2))
        assert {(row["host"], row["memory_used_bytes"]) for row in rows} == {("far", 5)}
        kinds = Counter(row["kind"] for row in run.rows("events"))
        assert kinds["bad_answer"] == 3
        assert "source_failed" not in kinds


def test_a_server_the_probe_watches_bears_the_name_it_has_in_the_run(sample: Sample, far: Far) -> None:
    """Loopback there, another name here: its process is found under the run's name, its queue is told once only."""
    queue = http('{"queue_running": [], "queue_pending": []}')
    with answering(lambda method, path: queue if path == "/queue" else http("{}")) as server:
        probe = far("--server", f"http://localhost:{server.port}", "--log", "off")
        run = watching(sample, probe.url, servers=[server.url], server_every_s=60.0, log="off")
        rows = run.wait_for("processes", has(server=server.url))
        run.wait_for("gpu", at_least(10))
        assert not any("localhost" in str(row) for row in rows + run.rows("server"))
        assert len(run.rows("server")) <= 2


def test_a_probe_that_sees_no_gpu_is_told() -> None:
    """It said so itself when it was started, before this run: after ten seconds of rows without one the run says it."""
    clock = ManualClock()

    def answer(method: str, path: str) -> bytes:
        told = {"ring": "r", "clock_ns": clock.now_ns()}
        head = {"format": 1, "host": "far", "version": "1", "first": 1, "next": 1, "columns": {}, **told}
        return http(orjson.dumps(told if path == "/clock" else head))

    with answering(answer) as server:
        source = ProbeSource(RemoteProbe(server.url), SamplerConfig(), clock=clock)
        told = []
        for _ in range(30):
            told += [row for row in source.read(Tick(0, 0)) if isinstance(row, Event)]
            clock.advance(0.5)
        source.close()
    assert [event.kind for event in told] == ["remote_probe", "source_missing"]
    assert "the probe on far sees no GPU" in told[1].detail

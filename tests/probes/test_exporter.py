"""An exporter on a real socket: rows, events told once, exporters that misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Event, Gpu, GpuHealth, GpuSlow, Row
from comfysoak_probes.dcgm.exporter import DcgmSource
from comfysoak_probes.fetch import Fetcher
from comfysoak_probes.source import Tick
from tests.probes import exporting
from tests.probes.answering import Answering, answering, free_port, http
from tests.probes.conftest import Sample
from tests.probes.exporting import USUAL, exported

Exported = exporting.Gpu
MIB_CHUNK = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"


class Exporter:
    """An exporter on a real socket, and a source that reads it once a second."""

    def __init__(self) -> None:
        self.body: bytes | Iterable[bytes] = b""
        self.clock = ManualClock()
        self.server: Answering | None = None
        self.export(Exported())

    def export(self, *gpus: exporting.Gpu) -> None:
        self.body = http(exported(*gpus))

    def answer(self, method: str, path: str) -> bytes | Iterable[bytes]:
        return self.body

    def source(self, path: str = "/metrics", timeout_s: float = 5.0) -> DcgmSource:
        assert self.server is not None
        url = f"{self.server.url}{path}"
        fetcher = Fetcher(url, timeout_s=timeout_s)
        return DcgmSource(url, every_s=0.1, slow_every_s=1.0, clock=self.clock, fetcher=fetcher)

    def read(self, source: DcgmSource, seconds: float = 1.0) -> list[Row]:
        now_ns = self.clock.advance(seconds)
        return list(source.read(Tick(now_ns, now_ns)))


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    with answering(exporter.answer) as server:
        exporter.server = server
        yield exporter


def events(rows: list[Row]) -> list[Event]:
    return [row for row in rows if isinstance(row, Event)]


def told(rows: list[Row]) -> list[tuple[str, str | None]]:
    return [(event.kind, event.subject) for event in events(rows)]


def test_a_scrape_gives_rows_and_tells_each_gpu_once(exporter: Exporter) -> None:
    """The first reading tells the GPU; each gives a fast row, a slow one once a second, health every five."""
    source = exporter.source()
    first = exporter.read(source)
    later = [[type(row) for row in exporter.read(source)] for _ in range(5)]
    assert [type(row) for row in first] == [Event, Gpu, GpuSlow, GpuHealth]
    words = f"GPU 0 of gpu-1, NVIDIA H100 80GB HBM3, driver 570.133.20, by {source.name}"
    assert events(first)[0].detail == words
    assert [[kind for kind in kinds if kind is not Event] for kinds in later] == [
        *[[Gpu, GpuSlow]] * 4,
        [Gpu, GpuSlow, GpuHealth],
    ]
    assert exporter.server is not None
    assert exporter.server.asked == ["GET /metrics"] * 6
    assert exporter.server.connections == 1
    source.close()


def test_an_address_without_a_path_is_asked_at_metrics(exporter: Exporter) -> None:
    """dcgm-exporter shows a web page at its root."""
    source = exporter.source("")
    assert any(isinstance(row, Gpu) for row in exporter.read(source))
    assert exporter.server is not None
    assert exporter.server.asked == ["GET /metrics"]
    source.close()


def slow_rows(rows: list[Row]) -> list[GpuSlow]:
    return [row for row in rows if isinstance(row, GpuSlow)]


def test_a_series_that_comes_late_takes_its_reason_with_it(exporter: Exporter) -> None:
    """Missing from the first scrape, there in the second, gone in the third: each row says how it is."""
    source = exporter.source()
    first = slow_rows(exporter.read(source))
    exporter.export(Exported(values={**USUAL, "DCGM_FI_PROF_SM_ACTIVE": "0.5"}))
    second = slow_rows(exporter.read(source))
    exporter.export(Exported())
    third = slow_rows(exporter.read(source))
    assert [row.sm_active_ratio for row in first + second + third] == [None, 0.5, None]
    assert "sm_active_ratio: the exporter has no" in str(first[0].missing)
    assert "sm_active_ratio" not in str(second[0].missing)
    assert "sm_active_ratio: the exporter no longer has" in str(third[0].missing)
    source.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (http("<html>login</html>\n"), "web page"),
        (http('{"error": "no"}\n', 200), "JSON"),
        (http("x", 500), "status 500"),
        (http("x", 401), "status 401: it wants a login"),
        (http("up 1\n" * 20_000), "no series DCGM_FI_"),
        (http(""), "no series DCGM_FI_"),
        (http("DCGM_FI_DEV_GPU_UTIL{gpu="), "no whole line"),
        (http("It works!\n"), "none of 1 lines is a sample"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "larger than 8 MiB"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[MIB_CHUNK] * 9], "larger than 8 MiB"),
        (b"garbage\r\n\r\n", "expected an HTTP answer"),
    ],
    ids=["html", "json", "500", "401", "others", "empty", "half a line", "prose", "gigabyte", "endless", "no http"],
)  # fmt: skip
def test_an_exporter_that_misbehaves_is_told_once_and_read_on(
    exporter: Exporter, body: bytes | Iterable[bytes], words: str
) -> None:
    """A web page, an error, half a line, a gigabyte: one event, no rows, and all is well when it answers again."""
    source = exporter.source()
    good, exporter.body = exporter.body, body
    lost, still_lost = exporter.read(source), exporter.read(source)
    assert [event.kind for event in events(lost)] == ["source_missing"]
    assert words in events(lost)[0].detail
    assert still_lost == []
    assert source.every_s == 1.0
    exporter.body = good
    again = exporter.read(source)
    assert "source_found" in [event.kind for event in events(again)]
    assert any(isinstance(row, Gpu) for row in again)
    source.close()


def test_an_exporter_that_says_nothing_is_given_up_in_time(exporter: Exporter) -> None:
    """The headers of an answer and then nothing: one event, and the next reading is not held up by the last."""
    source = exporter.source(timeout_s=0.2)
    good, exporter.body = exporter.body, [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]
    assert [(event.kind, "no whole answer" in event.detail) for event in events(exporter.read(source))] == [
        ("source_missing", True)
    ]
    exporter.body = good
    assert any(isinstance(row, Gpu) for row in exporter.read(source))
    source.close()


def test_a_gpu_that_leaves_the_exporter_is_told(exporter: Exporter) -> None:
    """One of two GPUs is no longer among the series: an event, and another one when it is back."""
    source = exporter.source()
    both = Exported(), Exported(1, "GPU-def")
    exporter.export(*both)
    exporter.read(source)
    exporter.export(both[1])
    assert told(exporter.read(source)) == [("source_missing", "GPU-abc")]
    assert told(exporter.read(source)) == []
    exporter.export(*both)
    assert told(exporter.read(source)) == [("source_found", "GPU-abc")]
    source.close()


def test_gpus_that_come_and_go_for_ever_are_forgotten(exporter: Exporter) -> None:
    """An exporter that invents a hundred GPUs at each scrape fills no memory."""
    source = exporter.source()
    for scrape in range(9):
        exporter.export(*(Exported(n, f"GPU-{scrape}-{n}", values={"DCGM_FI_DEV_GPU_UTIL": "1"}) for n in range(100)))
        exporter.read(source)
    assert len(source._known) <= 400
    source.close()


def test_series_that_come_and_go_for_ever_are_forgotten(exporter: Exporter) -> None:
    """An exporter that invents three hundred names at each scrape fills no memory."""
    source = exporter.source()
    for scrape in range(9):
        exporter.export(Exported(values={f"DCGM_FI_DEV_{scrape}_{n}": "1" for n in range(300)}))
        exporter.read(source)
    assert max(len(known.ever) for known in source._known.values()) <= 600
    source.close()


def test_an_xid_is_an_event_when_it_appears(exporter: Exporter) -> None:
    """The series keeps the last Xid for ever: only a change is an event; 79 means that the GPU is lost."""
    source = exporter.source()
    exporter.export(Exported(values={**USUAL, "DCGM_FI_DEV_XID_ERRORS": "31"}))
    assert told(exporter.read(source)) == [("gpu", "GPU-abc")]  # it is from before the run
    exporter.export(Exported(values={**USUAL, "DCGM_FI_DEV_XID_ERRORS": "79"}))
    (event,) = events(exporter.read(source))
    assert (event.kind, event.code, event.subject) == ("xid", "GPU_LOST", "GPU-abc")
    assert event.detail == "Xid 79: GPU has fallen off the bus (usually hardware), on gpu-1"
    assert events(exporter.read(source)) == []
    source.close()


def test_the_pod_a_gpu_is_given_to_is_told(exporter: Exporter) -> None:
    """With the GPU at first, and by an event of its own when it goes to another one."""
    source = exporter.source()
    for pod, kind in (("comfy-1", "gpu"), ("comfy-2", "gpu_pod")):
        exporter.export(Exported(attributes={"namespace": "art", "pod": pod, "container": "ui"}))
        (event,) = events(exporter.read(source))
        assert event.kind == kind
        assert f"art/{pod}, container ui" in event.detail
    source.close()


def intervals(exporter: Exporter, source: DcgmSource, until_s: int, every_s: float) -> list[Event]:
    """What is told of the interval by an exporter that refreshes its values every `every_s`, read each second."""
    found = []
    for second in range(until_s):
        power = 300 + int(second / every_s)
        moving = {
            "DCGM_FI_DEV_POWER_USAGE": power,
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": power,
            "DCGM_FI_DEV_GPU_UTIL": power % 90,
        }
        exporter.export(Exported(values={**USUAL, **{name: str(value) for name, value in moving.items()}}))
        found += [event for event in events(exporter.read(source)) if event.kind == "source_interval"]
    return found


def test_the_interval_of_an_exporter_is_told_early_and_once(exporter: Exporter) -> None:
    """At 30 s: after 5 s that it is a long one, after the second refresh how long, with what makes it shorter."""
    source = exporter.source()
    first, second = intervals(exporter, source, 150, 30.0)
    assert (first.subject, first.seconds) == (source.name, 5.0)
    assert "have not changed for 5.0 s" in first.detail
    assert second.seconds == pytest.approx(30.0)
    assert second.at_ns - first.at_ns <= 56 * 10**9
    assert "its values change every 30.0 s; DCGM_EXPORTER_INTERVAL=1000" in second.detail
    source.close()


def test_a_value_that_stays_is_a_row_a_second_at_most(exporter: Exporter) -> None:
    """Ten scrapes a second of unchanged values are no ten samples."""
    source = exporter.source()
    rows = [row for _ in range(30) for row in exporter.read(source, 0.1) if isinstance(row, Gpu)]
    assert len(rows) == 3
    source.close()


def test_the_sampler_goes_on_beside_an_exporter_that_misbehaves(exporter: Exporter, sample: Sample) -> None:
    """A process that watches a good exporter and one that sends a web page: rows of the one, one event of the other."""
    with answering(lambda method, path: http("<html>login</html>\n")) as other:
        assert exporter.server is not None
        urls = [f"{exporter.server.url}/metrics", f"{other.url}/metrics"]
        run = sample(gpu=[{"kind": "dcgm", "url": url} for url in urls], host_every_s=5.0)
        run.wait_for("gpu", lambda rows: len(rows) >= 3)
        run.wait_for("gpu_health", lambda rows: len(rows) >= 1)
        missing = run.event("source_missing")
        assert missing["subject"] == f"dcgm {urls[1]}"
        assert "web page" in missing["detail"]
        assert run.end() == 0
    assert sum(row["kind"] == "source_missing" for row in run.rows("events")) == 1
    assert {row["uuid"] for row in run.rows("gpu")} == {"GPU-abc"}
    assert run.rows("gpu_slow")[0]["tensor_active_ratio"] == 0.412


class SlowClock(ManualClock):
    """Each look at it takes 20 ms, as work does on a machine that has little time."""

    def now_ns(self) -> int:
        return self.advance(0.02)


def test_an_exporter_that_is_much_work_is_asked_less_often(exporter: Exporter) -> None:
    """What takes 20 ms to read is read no more often than leaves nineteen twentieths of a core."""
    exporter.clock = SlowClock()
    source = exporter.source()
    exporter.read(source)
    assert source.every_s == pytest.approx(0.4)
    source.close()


def test_nobody_at_the_address_is_told_once() -> None:
    """A refused connection is a missing source, said once however often it is tried."""
    clock = ManualClock()
    source = DcgmSource(f"http://127.0.0.1:{free_port()}/metrics", every_s=0.1, slow_every_s=1.0, clock=clock)
    tick = Tick(clock.now_ns(), clock.now_ns())
    kinds = [event.kind for _ in range(3) for event in events(source.read(tick))]
    assert kinds == ["source_missing"]
    assert source.every_s == 1.0

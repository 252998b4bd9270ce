"""DCGM series: rows in our units, an interval that is learned, exporters that misbehave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Event, Gpu, GpuSlow, Row
from comfysoak_probes.dcgm import Identity, by_gpu, gpu_row, gpu_slow_row
from comfysoak_probes.exporter import DcgmSource, Freshness
from comfysoak_probes.prometheus import Parser
from comfysoak_probes.source import Tick
from tests.probes.answering import Answering, answering, free_port, http

LABELS = 'gpu="0",UUID="GPU-abc",pci_bus_id="00000000:17:00.0",device="nvidia0",modelName="NVIDIA L4",Hostname="gpu-1"'
SERIES = {
    "DCGM_FI_DEV_FB_USED": "1024",
    "DCGM_FI_DEV_FB_FREE": "21000",
    "DCGM_FI_DEV_FB_RESERVED": "500",
    "DCGM_FI_DEV_GPU_UTIL": "97",
    "DCGM_FI_DEV_MEM_COPY_UTIL": "31",
    "DCGM_FI_DEV_POWER_USAGE": "71.604000",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": "123456789",
    "DCGM_FI_DEV_GPU_TEMP": "62",
    "DCGM_FI_DEV_SM_CLOCK": "2040",
    "DCGM_FI_DEV_MEM_CLOCK": "6251",
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": "4",
    "DCGM_FI_DEV_XID_ERRORS": "0",
}
MIB = 1024 * 1024
AT = {"at_ns": 5, "cost_ns": 2, "late_ns": 1}


def text(series: dict[str, str], labels: str = LABELS) -> str:
    return "".join(f"# TYPE {name} gauge\n{name}{{{labels}}} {value}\n" for name, value in series.items())


def gpus(body: str) -> dict[Identity, dict[str, float]]:
    return by_gpu(Parser().parse(body.encode()), "exporter-host")


def test_series_become_columns_in_our_units() -> None:
    """MiB are bytes, percent shares, MHz hertz, millijoules joules; labels say which GPU of which host."""
    (identity, values), *others = gpus(text(SERIES)).items()
    assert not others
    fast, slow = gpu_row(identity, values, **AT), gpu_slow_row(identity, values, **AT)
    assert (fast.host, fast.uuid, fast.index, fast.source) == ("gpu-1", "GPU-abc", 0, "dcgm")
    assert (fast.memory_used_bytes, fast.memory_total_bytes) == (1024 * MIB, (1024 + 21000 + 500) * MIB)
    assert (fast.memory_reserved_bytes, fast.utilisation_ratio) == (500 * MIB, 0.97)
    assert fast.missing is None
    assert (slow.name, slow.power_watts, slow.energy_joules) == ("NVIDIA L4", 71.604, 123456.789)
    assert (slow.sm_clock_hertz, slow.temperature_celsius, slow.xid) == (2_040_000_000, 62.0, 0)
    assert slow.event_reasons == "software_power_cap"


def test_a_series_that_is_not_there_is_a_column_with_a_reason() -> None:
    """dcgm-exporter leaves out what the chip has not: None, and which series was looked for."""
    (identity, values), *_ = gpus(text({"DCGM_FI_DEV_GPU_UTIL": "5"})).items()
    fast = gpu_row(identity, values, **AT)
    assert fast.memory_used_bytes is None
    assert fast.memory_total_bytes is None
    assert fast.utilisation_ratio == 0.05
    assert "memory_used_bytes: the exporter has no DCGM_FI_DEV_FB_USED" in str(fast.missing)


def test_labels_that_are_missing_or_odd_are_borne() -> None:
    """Without Hostname the exporter's own name stands, without UUID one made of host and index; no GPU, no row."""
    found = gpus('DCGM_FI_DEV_GPU_UTIL{gpu="3"} 1\nDCGM_FI_DEV_GPU_UTIL{x="y"} 1\nother{gpu="1"} 1\n')
    assert list(found) == [Identity("exporter-host", "exporter-host/gpu3", 3, None)]


def test_each_gpu_is_a_row_of_its_own() -> None:
    """Eight GPUs behind one exporter are eight identities."""
    body = "".join(
        text(SERIES, LABELS.replace("GPU-abc", f"GPU-{i}").replace('gpu="0"', f'gpu="{i}"')) for i in range(8)
    )
    assert [identity.index for identity in gpus(body)] == list(range(8))


def scrape_every(freshness: Freshness, seconds: float, interval_s: float, poll_s: float) -> None:
    """Look at an exporter that has news every `interval_s`."""
    for step in range(round(seconds / poll_s)):
        now_s = step * poll_s
        freshness.saw(round(now_s * 1e9), int(now_s / interval_s + 1e-9))


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 30.0])
def test_the_interval_of_an_exporter_is_learned(interval_s: float) -> None:
    """From the moments at which anything changed; before three of them it is not known."""
    freshness = Freshness(0.1)
    scrape_every(freshness, 2 * interval_s, interval_s, 0.1)
    assert freshness.interval_s is None
    freshness = Freshness(0.1)
    scrape_every(freshness, 6 * interval_s, interval_s, 0.1)
    assert freshness.interval_s == pytest.approx(interval_s, abs=0.11)


def test_an_exporter_is_not_asked_much_more_often_than_it_has_news() -> None:
    """Once a second at 30 s, five times a second at 1 s, as often as wanted when each scrape is new."""
    for interval_s, poll_s in ((30.0, 1.0), (1.0, 0.2), (0.1, 0.1)):
        freshness = Freshness(0.1)
        scrape_every(freshness, 8 * interval_s, interval_s, 0.1)
        assert freshness.poll_s(freshness.changed_ns[-1]) == pytest.approx(poll_s, abs=0.03)


class Exporter:
    """An exporter on a real socket, and a source that reads it."""

    def __init__(self) -> None:
        self.body: bytes = http(text(SERIES))
        self.clock = ManualClock()
        self.server: Answering | None = None

    def answer(self, method: str, path: str) -> bytes:
        return self.body

    def read(self, source: DcgmSource) -> list[Row]:
        now_ns = self.clock.advance(1.0)
        return list(source.read(Tick(now_ns, now_ns)))


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    with answering(exporter.answer) as server:
        exporter.server = server
        yield exporter


def source_of(exporter: Exporter) -> DcgmSource:
    assert exporter.server is not None
    return DcgmSource(f"{exporter.server.url}/metrics", every_s=0.1, slow_every_s=1.0, clock=exporter.clock)


def events(rows: list[Row]) -> list[Event]:
    return [row for row in rows if isinstance(row, Event)]


def test_a_scrape_gives_rows_and_tells_each_gpu_once(exporter: Exporter) -> None:
    """The first reading tells the GPU; each gives a fast row, and a slow one once a second."""
    source = source_of(exporter)
    first, second = exporter.read(source), exporter.read(source)
    assert [type(row) for row in first] == [Event, Gpu, GpuSlow]
    assert "GPU 0 of gpu-1, NVIDIA L4" in events(first)[0].detail
    assert [type(row) for row in second] == [Gpu, GpuSlow]
    assert exporter.server is not None
    assert exporter.server.asked == ["GET /metrics"] * 2
    source.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (http("<html>login</html>\n"), "web page"),
        (http("x", 502), "status 502"),
        (http("up 1\n"), "no series DCGM_FI_"),
        (http("DCGM_FI_DEV_GPU_UTIL{gpu="), "no whole line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n", "larger than 8 MiB"),
        (b"garbage\r\n\r\n", "expected an HTTP answer"),
    ],
)
def test_an_exporter_that_misbehaves_is_told_once_and_read_on(exporter: Exporter, body: bytes, words: str) -> None:
    """A web page, an error, half a line, a gigabyte: one event, no rows, and all is well when it answers again."""
    source = source_of(exporter)
    good, exporter.body = exporter.body, body
    lost, still_lost = exporter.read(source), exporter.read(source)
    assert [event.kind for event in events(lost)] == ["source_missing"]
    assert words in events(lost)[0].detail
    assert still_lost == []
    exporter.body = good
    again = exporter.read(source)
    assert "source_found" in [event.kind for event in events(again)]
    assert any(isinstance(row, Gpu) for row in again)
    source.close()


def test_a_gpu_that_leaves_the_exporter_is_told(exporter: Exporter) -> None:
    """One of two GPUs is no longer among the series: an event, and another one when it is back."""
    other = text(SERIES, LABELS.replace("GPU-abc", "GPU-def"))
    exporter.body = http(text(SERIES) + other)
    source = source_of(exporter)
    exporter.read(source)
    exporter.body = http(other)
    assert [(event.kind, event.subject) for event in events(exporter.read(source))] == [("source_missing", "GPU-abc")]
    exporter.body = http(text(SERIES) + other)
    assert [(event.kind, event.subject) for event in events(exporter.read(source))] == [("source_found", "GPU-abc")]
    source.close()


def test_an_xid_is_an_event_when_it_appears(exporter: Exporter) -> None:
    """The series keeps the last Xid for ever: only a change is an event; 79 means that the GPU is lost."""
    source = source_of(exporter)
    exporter.read(source)
    exporter.body = http(text({**SERIES, "DCGM_FI_DEV_XID_ERRORS": "79"}))
    first, second = exporter.read(source), exporter.read(source)
    assert [(event.kind, event.code, event.subject) for event in events(first)] == [("xid", "GPU_LOST", "GPU-abc")]
    assert events(second) == []
    source.close()


def test_nobody_at_the_address_is_told_once() -> None:
    """A refused connection is a missing source, said once however often it is tried."""
    clock = ManualClock()
    source = DcgmSource(f"http://127.0.0.1:{free_port()}/metrics", every_s=0.1, slow_every_s=1.0, clock=clock)
    tick = Tick(clock.now_ns(), clock.now_ns())
    kinds = [event.kind for _ in range(3) for event in events(source.read(tick))]
    assert kinds == ["source_missing"]
    assert source.every_s == 1.0

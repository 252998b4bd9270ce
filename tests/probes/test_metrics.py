"""The Prometheus text of a probe, read by a strict reader of the format."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Event, Gpu, GpuHealth, GpuProcess, GpuSlow, Host, Process, Row, Server
from comfysoak_probes.remote.metrics import COUNTERS, FAMILIES, METRICS, Metrics

NOW_NS = 1_764_000_000 * 10**9
_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)')
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\["\\n])*)"')


@dataclass
class Exposition:
    """What a strict reader makes of it: AssertionError for anything Prometheus would stumble over."""

    kinds: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: bytes) -> Exposition:
        found = cls()
        assert raw.endswith(b"\n")
        current = ""
        for line in raw.decode("utf-8").removesuffix("\n").split("\n"):
            if line.startswith("# HELP "):
                current = line.split(" ")[2]
                assert current not in found.kinds, f"{current} in two places"
                assert len(line.split(" ", 3)[3]) > 5
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == current
                assert kind in {"gauge", "counter"}
                assert (kind == "counter") == name.endswith("_total"), name
                found.kinds[name] = kind
            else:
                match = _SAMPLE.fullmatch(line)
                assert match is not None, line
                assert match[1] == current
                labels = frozenset(_LABEL.findall(match[2] or ""))
                assert (match[1], labels) not in found.values, f"{line} twice"
                found.values[match[1], labels] = float(match[3])
        return found

    def value(self, metric: str, /, **labels: str) -> float:
        """The one series with these labels, among others."""
        (value,) = [
            value
            for (each, found), value in self.values.items()
            if each == metric and labels.items() <= dict(found).items()
        ]
        return value

    def names(self) -> set[str]:
        return {name for name, _ in self.values}


def shown(*rows: Row, clock: ManualClock | None = None) -> Exposition:
    metrics = Metrics(clock or ManualClock(NOW_NS), host="gpu-2", version="1.0", every_s=0.1)
    metrics.take(rows)
    return Exposition.read(metrics.text())


def gpu(**values: object) -> Gpu:
    base = {"at_ns": NOW_NS, "read_cost_ns": 12_000, "host": "gpu-2", "source": "nvml", "uuid": "GPU-1", "index": 0}
    return Gpu(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def slow(**values: object) -> GpuSlow:
    base = {"at_ns": NOW_NS, "read_cost_ns": 1, "host": "gpu-2", "source": "nvml", "uuid": "GPU-1", "index": 0}
    return GpuSlow(**{**base, **values})  # type: ignore[arg-type]  # columns of a row


def test_a_column_is_a_series_in_base_units() -> None:
    """Bytes stay bytes, nanoseconds are seconds, what only grows is a counter."""
    found = shown(gpu(memory_used_bytes=3 << 30), slow(energy_joules=5.5, power_throttled_s=0.25, power_watts=312.5),
                  Server(at_ns=NOW_NS, server="http://s", queue_answer_ns=2_500_000, queue_pending=4))  # fmt: skip
    assert found.value("comfysoak_gpu_memory_used_bytes", host="gpu-2", uuid="GPU-1", gpu="0") == 3 << 30
    assert found.value("comfysoak_gpu_read_cost_seconds") == 12e-6
    assert found.value("comfysoak_gpu_energy_joules_total") == 5.5
    assert found.value("comfysoak_gpu_power_throttled_seconds_total") == 0.25
    assert found.value("comfysoak_gpu_power_watts") == 312.5
    assert found.value("comfysoak_server_queue_answer_seconds", server="http://s") == 0.0025
    assert found.value("comfysoak_server_queue_pending") == 4
    assert found.value("comfysoak_probe_info", host="gpu-2", version="1.0") == 1


def test_what_is_missing_has_no_series_and_zero_has_one() -> None:
    """A reason in `missing` is no value."""
    found = shown(gpu(memory_used_bytes=0, missing="utilisation_ratio: not supported"))
    assert found.value("comfysoak_gpu_memory_used_bytes") == 0
    assert "comfysoak_gpu_utilisation_ratio" not in found.names()


def test_flags_are_numbers() -> None:
    """True and False are 1 and 0."""
    health = GpuHealth(at_ns=NOW_NS, read_cost_ns=1, host="h", source="nvml", uuid="G", remapping_failed=False,
                       remapping_pending=True)  # fmt: skip
    found = shown(health)
    assert found.value("comfysoak_gpu_remapping_failed") == 0
    assert found.value("comfysoak_gpu_remapping_pending") == 1


def test_each_reason_is_a_series_set_or_not() -> None:
    """So that PromQL can count how long one was set; one without a name is there while it is set."""
    found = shown(slow(event_reasons="software_power_cap,bit_0x200", name="NVIDIA H100"))
    reason = "comfysoak_gpu_clock_event_reason"
    assert found.value(reason, reason="software_power_cap") == 1
    assert found.value(reason, reason="hardware_thermal") == 0
    assert found.value(reason, reason="bit_0x200") == 1
    assert found.value("comfysoak_gpu_info", name="NVIDIA H100") == 1


def test_mig_instances_and_sources_are_series_of_their_own() -> None:
    """Nothing is there twice, whatever is watched."""
    found = shown(gpu(memory_used_bytes=1), gpu(memory_used_bytes=2, instance="1/0", uuid="MIG-1"),
                  gpu(memory_used_bytes=3, source="dcgm"))  # fmt: skip
    assert found.value("comfysoak_gpu_memory_used_bytes", mig_instance="1/0") == 2
    assert found.value("comfysoak_gpu_memory_used_bytes", source="dcgm") == 3


def test_a_gpu_that_is_no_longer_read_vanishes() -> None:
    """Its last values are not told for ever; each table has its own patience."""
    clock = ManualClock(NOW_NS)
    metrics = Metrics(clock, host="h", version="1", every_s=0.1)
    metrics.take([gpu(memory_used_bytes=1), slow(power_watts=1.0)])
    clock.advance(6)
    found = Exposition.read(metrics.text())
    assert "comfysoak_gpu_memory_used_bytes" not in found.names()
    assert "comfysoak_gpu_power_watts" in found.names()
    clock.advance(60)
    assert Exposition.read(metrics.text()).names() == {"comfysoak_probe_info"}


def test_events_are_counted_by_kind() -> None:
    """For an alert: `increase(comfysoak_events_total{kind="xid"}[10m]) > 0`."""
    found = shown(*[Event(at_ns=1, source="sampler", kind=kind) for kind in ("xid", "xid", "gpu_lost")])
    assert found.value("comfysoak_events_total", kind="xid") == 2


def test_text_of_others_cannot_break_a_line() -> None:
    """Quotes, backslashes, line ends, half characters, any length."""
    evil = 'a"b\\c\nd{}=,\ud800' + "x" * 10_000
    found = shown(gpu(memory_used_bytes=1, host=evil), slow(name=evil, event_reasons=evil.replace(",", "")),
                  Process(at_ns=NOW_NS, read_cost_ns=1, host="h", pid=1, role="server", name=evil,
                          rss_bytes=1))  # fmt: skip
    assert found.value("comfysoak_process_rss_bytes", role="server") == 1


def test_texts_that_become_one_are_one_series() -> None:
    """What differs beyond what a label holds, or in half a character: a scrape with a series twice is thrown away."""
    found = shown(slow(uuid="x" * 300 + "a", power_watts=1.0), slow(uuid="x" * 300 + "b", power_watts=2.0),
                  gpu(uuid="\ud800", memory_used_bytes=1), gpu(uuid="?", memory_used_bytes=2),
                  slow(uuid="R", event_reasons="r" * 250 + "a," + "r" * 250 + "b"))  # fmt: skip
    assert found.value("comfysoak_gpu_power_watts") == 2.0
    assert found.value("comfysoak_gpu_memory_used_bytes") == 2


def test_odd_numbers_are_written_as_prometheus_reads_them() -> None:
    """Not a number and infinity are values of the format."""
    found = shown(slow(power_watts=math.inf))
    assert found.value("comfysoak_gpu_power_watts") == math.inf


def test_what_is_kept_does_not_grow_without_bound() -> None:
    """Processes that come and go by the thousand make room for each other, or wait."""
    metrics = Metrics(ManualClock(NOW_NS), host="h", version="1", every_s=0.1)
    metrics.take(GpuProcess(at_ns=NOW_NS, read_cost_ns=1, host="h", uuid="G", pid=pid) for pid in range(5_000))
    metrics.take(Event(at_ns=1, source="s", kind=f"kind{number}") for number in range(5_000))
    assert len(metrics._latest[GpuProcess]) <= 2_000
    assert len(metrics._kinds) <= 100


@pytest.mark.parametrize("row_type", list(FAMILIES), ids=lambda row_type: row_type.TABLE)
def test_every_metric_has_a_unit_or_none_to_have(row_type: type[Row]) -> None:
    """Names of counters are columns there are, and no name keeps a unit of ours."""
    names = {each.name for each in fields(row_type)}
    assert COUNTERS.get(row_type, frozenset()) <= names
    assert set(FAMILIES[row_type].labels) <= names
    for metric in METRICS[row_type]:
        assert not metric.name.endswith(("_ns", "_s", "_ns_total", "_s_total", "_count", "_sum", "_bucket")), (
            metric.name
        )


def test_a_host_row_is_valid_whole() -> None:
    """All columns at once."""
    numbers = dict.fromkeys((each.name for each in fields(Host)), 1)
    row = Host(**{**numbers, "at_ns": NOW_NS, "host": "h", "missing": None, "core_ratios": None})  # type: ignore[arg-type]  # columns of a row
    assert shown(row).value("comfysoak_host_network_sent_bytes_total") == 1

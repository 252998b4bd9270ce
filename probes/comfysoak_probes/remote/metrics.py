"""The latest rows as Prometheus text (version 0.0.4), for people who have a Grafana.

Metric names come from the columns, in base units: `power_watts` of table gpu_slow is `comfysoak_gpu_power_watts`.
What was not read has no series, and what is no longer read loses its own.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.recording.journal import columns
from comfysoak_core.rows import (
    Container,
    Event,
    Folder,
    Gpu,
    GpuHealth,
    GpuProcess,
    GpuSlow,
    Host,
    Process,
    Row,
    Server,
)
from comfysoak_probes.reasons import EVENT_REASONS
from comfysoak_probes.remote.prometheus_text import Labels, PrometheusText, short

KEYS_MOST = 2_000  # things watched, of one table
KINDS_MOST = 100
PERIODS_STALE = 3


@dataclass(frozen=True, slots=True)
class Family:
    """How rows of one table become metrics: how they are called, what tells them apart, how long they hold."""

    prefix: str
    about: str
    labels: dict[str, str]  # column -> label
    stale_s: float
    left_out: frozenset[str] = frozenset()


_GPU = {"host": "host", "uuid": "uuid", "index": "gpu", "instance": "mig_instance", "source": "source"}
_READING = frozenset({"read_cost_ns", "late_ns"})
FAMILIES: dict[type[Row], Family] = {
    Gpu: Family("gpu", "of a GPU", _GPU, 5.0),
    GpuSlow: Family("gpu", "of a GPU", _GPU, 10.0, _READING),
    GpuHealth: Family("gpu", "of a GPU", _GPU, 30.0, _READING),
    GpuProcess: Family(
        "gpu_process", "of a process on a GPU", {"host": "host", "uuid": "uuid", "pid": "pid", "name": "name"}, 20.0
    ),
    Host: Family("host", "of a host", {"host": "host"}, 10.0),
    Process: Family(
        "process", "of a process",
        {"host": "host", "pid": "pid", "role": "role", "server": "server", "name": "name"}, 10.0,
        frozenset({"parent_pid"}),
    ),
    Container: Family(
        "container", "of the container of a server",
        {"host": "host", "server": "server", "container": "container", "name": "name"}, 10.0,
    ),
    Folder: Family("folder", "of a folder of a server", {"host": "host", "server": "server", "kind": "kind"}, 200.0),
    Server: Family("server", "of a server", {"server": "server"}, 10.0),
}  # fmt: skip

COUNTERS: dict[type[Row], frozenset[str]] = {
    GpuSlow: frozenset({"energy_joules", "power_throttled_s", "thermal_throttled_s"}),
    GpuHealth: frozenset({
        "ecc_corrected", "ecc_uncorrected", "ecc_uncorrected_lifetime", "pcie_replays", "nvlink_errors",
        "rows_remapped_corrected", "rows_remapped_uncorrected",
    }),
    Host: frozenset({
        "swapped_in_bytes", "swapped_out_bytes", "disk_read_bytes", "disk_written_bytes", "network_sent_bytes",
        "network_received_bytes", "network_errors", "network_dropped",
    }),
    Process: frozenset({"cpu_seconds", "read_bytes", "written_bytes"}),
    Container: frozenset({
        "cpu_seconds", "cpu_periods", "cpu_periods_throttled", "cpu_throttled_s", "limit_hits", "oom_events",
        "oom_kills",
    }),
}  # fmt: skip

_UNITS = (("_bytes_per_s", "_bytes_per_second", 1), ("_ns", "_seconds", NS_PER_S), ("_s", "_seconds", 1))
_HELP = {"read_cost_ns": "how long reading took,", "late_ns": "how long after its moment the reading began,"}
_WORDS = {"sm": "SM", "ecc": "ECC", "pcie": "PCIe", "nvlink": "NVLink", "cpu": "CPU", "vram": "VRAM", "ram": "RAM"}


@dataclass(frozen=True, slots=True)
class _Metric:
    """One column as a metric."""

    column: str
    name: str
    help: str
    kind: str  # "gauge" or "counter"
    divisor: int


def _metric(row_type: type[Row], family: Family, column: str) -> _Metric:
    name, divisor = column, 1
    for ending, written, by in _UNITS:
        if column.endswith(ending):
            name, divisor = column.removesuffix(ending) + written, by
            break
    if column == "started_ns":
        name = "start_time_seconds"
    if name.endswith("_count"):  # Prometheus keeps that ending for histograms
        name = name.removesuffix("_count") + "s"
    words = _HELP.get(column) or " ".join(
        _WORDS.get(word, word) for word in column.removesuffix("_ns").removesuffix("_s").split("_")
    )
    counts = column in COUNTERS.get(row_type, frozenset())
    kind, ending = ("counter", "_total") if counts else ("gauge", "")
    return _Metric(column, f"comfysoak_{family.prefix}_{name}{ending}", f"{words} {family.about}", kind, divisor)


def _numbers(row_type: type[Row], family: Family) -> tuple[_Metric, ...]:
    """The metrics of all columns that hold numbers and tell nothing apart."""
    types = row_type.__annotations__  # as text
    named = {"at_ns", "missing", *family.labels, *family.left_out}
    return tuple(
        _metric(row_type, family, column)
        for column in columns(row_type)
        if column not in named and types[column].split(" ")[0] in {"int", "float", "bool"}
    )


METRICS = {row_type: _numbers(row_type, family) for row_type, family in FAMILIES.items()}


class Metrics:
    """The latest row of everything that is watched; as large as there are things to watch. Safe from all threads."""

    def __init__(self, clock: Clock, *, host: str, version: str, every_s: float) -> None:
        self._clock = clock
        self._probe: Labels = (("host", host), ("version", version))
        self._every_s = every_s
        self._lock = threading.Lock()
        self._latest: dict[type[Row], dict[Labels, Row]] = {row_type: {} for row_type in FAMILIES}
        self._kinds: Counter[str] = Counter()
        self._full_until_ns: dict[type[Row], int] = {}

    def take(self, rows: Iterable[Row]) -> None:
        """Keep the latest of each."""
        with self._lock:
            for row in rows:
                latest = self._latest.get(type(row))
                if latest is not None:
                    key = _KEYS[type(row)](row)
                    if key in latest or len(latest) < KEYS_MOST or self._made_room(type(row)):
                        latest[key] = row
                elif isinstance(row, Event):
                    kind = short(row.kind)
                    if kind in self._kinds or len(self._kinds) < KINDS_MOST:
                        self._kinds[kind] += 1

    def close(self) -> None:
        """Nothing more will come."""

    def text(self) -> bytes:
        """All series there are now."""
        text = PrometheusText()
        text.add("comfysoak_probe_info", "The probe that tells all this.", "gauge", self._probe, 1)
        with self._lock:
            for row_type in FAMILIES:
                self._forget(row_type)
            rows = {row_type: tuple(latest.items()) for row_type, latest in self._latest.items()}
            kinds = tuple(self._kinds.items())
        for row_type, latest in rows.items():
            for labels, row in latest:
                _add_numbers(text, row_type, labels, row)
                _add_names(text, labels, row)
        for kind, count in kinds:
            text.add("comfysoak_events_total", "events by kind, such as xid", "counter", (("kind", kind),), count)
        return text.encoded()

    def _made_room(self, row_type: type[Row]) -> bool:
        now_ns = self._clock.now_ns()
        if now_ns < self._full_until_ns.get(row_type, 0):
            return False  # to look at all of them for each row that finds no room would cost seconds
        self._full_until_ns[row_type] = now_ns + NS_PER_S
        self._forget(row_type)
        return len(self._latest[row_type]) < KEYS_MOST

    def _forget(self, row_type: type[Row]) -> None:
        """What was not read for several of its periods is no longer told."""
        stale_s = max(FAMILIES[row_type].stale_s, PERIODS_STALE * self._every_s)
        since_ns = self._clock.now_ns() - round(stale_s * NS_PER_S)
        latest = self._latest[row_type]
        for labels in [labels for labels, row in latest.items() if row.at_ns < since_ns]:  # type: ignore[attr-defined]  # all of FAMILIES have it
            del latest[labels]


def _labels(family: Family) -> Callable[[Any], Labels]:  # a row of the family's table
    places = tuple(family.labels.items())

    def labels(row: Any) -> Labels:  # as above
        values = ((label, getattr(row, column)) for column, label in places)
        return tuple((label, short(str(value))) for label, value in values if value is not None)

    return labels


_KEYS = {row_type: _labels(family) for row_type, family in FAMILIES.items()}


def _add_numbers(text: PrometheusText, row_type: type[Row], labels: Labels, row: Row) -> None:
    for metric in METRICS[row_type]:
        value = getattr(row, metric.column)
        if value is not None:
            number = value / metric.divisor if metric.divisor != 1 else +value  # the plus makes a number of a bool
            text.add(metric.name, metric.help, metric.kind, labels, number)


def _add_names(text: PrometheusText, labels: Labels, row: Row) -> None:
    if not isinstance(row, GpuSlow):
        return
    if row.name is not None:
        named = (*labels, ("name", short(row.name)))
        text.add("comfysoak_gpu_info", "The name of a GPU.", "gauge", named, 1)
    if row.event_reasons is not None:
        for reason, is_set in _reasons(row.event_reasons):
            flag = (*labels, ("reason", reason))
            text.add("comfysoak_gpu_clock_event_reason", "Why its clocks are what they are.", "gauge", flag, is_set)


def _reasons(told: str) -> Iterator[tuple[str, int]]:
    """Each flag there is, and whether it is set; those without a name only where they are set."""
    are_set = {short(reason) for reason in told.split(",") if reason}
    for reason in dict.fromkeys([name for _, name in EVENT_REASONS] + sorted(are_set)):
        yield reason, int(reason in are_set)

"""Charts of hosts, of the processes of servers and of their containers; None of what was not watched."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Buckets, Grid, bucketed
from comfysoak_analysis.figures import fleet
from comfysoak_analysis.figures.chart import Chart, Series, line
from comfysoak_analysis.figures.fleet import Line, scaled
from comfysoak_analysis.frames import Run
from comfysoak_analysis.server_processes import server_processes
from comfysoak_analysis.text import for_chart

GIB = 1024**3
MOST_LINES = 6
_HOLD_S = 3.0

Part = tuple[str, pd.DataFrame]


def cpu(run: Run) -> Chart | None:
    """How busy the cores of each host were, the busiest one beside them where there is one host."""
    found = run.tracks("host", ("cpu_ratio", "busiest_core_ratio"), by="host")
    series = _of_hosts(fleet.told(found, "cpu_ratio"), run.duration_s, 100)
    if len(found) == 1:
        (host, columns), *_ = found.items()
        busiest = Line(host, "busiest core", "users", scaled(columns["busiest_core_ratio"], 100))
        if fleet.has_values(busiest.buckets):
            series += fleet.lines([busiest], run.duration_s, kind="limit", least_s=1)
    note = "Share of all cores together."
    return _chart("host-cpu", "Host CPU", note, series, unit="%", whole=True, decimals=".0f")


def memory(run: Run) -> Chart | None:
    """Memory of each host that is not available to a new program."""
    found = run.tracks("host", ("memory_total_bytes", "memory_available_bytes"), by="host")
    used = {host: _used(columns) for host, columns in found.items()}
    used = {host: buckets for host, buckets in used.items() if fleet.has_values(buckets)}
    series = _of_hosts(used, run.duration_s, 1 / GIB)
    if len(used) == 1:
        (host,) = used
        series += _capacity(run, float(np.nanmax(found[host]["memory_total_bytes"].high)))
    return _chart("host-memory", "Host memory", "Not available to a new program.", series, unit="GiB")


def _used(columns: Mapping[str, Buckets]) -> Buckets:
    total, free = columns["memory_total_bytes"], columns["memory_available_bytes"]
    return Buckets(total.grid, total.mean - free.mean, total.high - free.high, total.low - free.low)


def _of_hosts(found: Mapping[str, Buckets], duration_s: float, scale: float) -> list[Series]:
    shown = [
        Line(host, for_chart(host, 60), f"server-{place % MOST_LINES}", scaled(buckets, scale))
        for place, (host, buckets) in enumerate(list(found.items())[: fleet.MOST_DRAWN])
    ]
    return fleet.lines(shown, duration_s, least_s=1)


def processes(run: Run) -> Chart | None:
    """Resident memory of the servers' processes."""
    found = [one for one in server_processes(run) if one.told["rss_bytes"].count]
    several = len({one.host for one in found}) > 1
    lines = [
        Line(
            one.host,
            for_chart(f"{one.name} {one.pid}".strip() + (f" on {one.host}" if several else ""), 60),
            f"server-{place}",
            scaled(one.memory_track(), 1 / GIB),
        )
        for place, one in enumerate(found[:MOST_LINES])
    ]
    note = "Resident memory of the servers' processes" + (
        f", the {MOST_LINES} largest." if len(found) > MOST_LINES else "."
    )
    return _chart("processes", "Processes", note, fleet.lines(lines, run.duration_s, least_s=1), unit="GiB")


def containers(run: Run) -> Chart | None:
    """Memory of the servers' containers, and the limit of a single one."""
    keys = [run.containers[name].fillna("") for name in ("host", "server", "container")]
    parts = [(_container_name(part), part) for _, part in run.containers.groupby(keys)]
    series = list(_lines(run, parts, "memory_used_bytes", 1 / GIB))
    if series and len(parts) == 1:
        series += _capacity(run, float(run.containers["memory_limit_bytes"].max()))
    return _chart("containers", "Containers", "Memory in use, page cache included.", series, unit="GiB")


def _container_name(rows: pd.DataFrame) -> str:
    last = rows.iloc[-1]
    return next(str(one) for one in (last["name"], last["container"], last["server"]) if isinstance(one, str) and one)


def _lines(
    run: Run, parts: Iterable[Part], column: str, scale: float, *, kind: str = "line", colour: str = ""
) -> Iterator[Series]:
    """A line for each part that tells `column`; never more of them than there are colours."""
    told = [(name, rows) for name, part in parts if len(rows := part.dropna(subset=[column]))]
    for index, (name, rows) in enumerate(told[:MOST_LINES]):
        seconds = run.since_start_s(rows["at"])
        pace_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
        grid = Grid.over(run.duration_s, least_s=max(2 * float(f"{max(pace_s, 0.05):.1g}"), 1.0))
        values = rows[column].to_numpy(dtype=float) * scale
        found = bucketed(grid, seconds, values, hold_s=max(_HOLD_S, 3 * pace_s))
        yield line(for_chart(name, 60), colour or f"server-{index}", found, kind=kind)


def _capacity(run: Run, whole: float) -> list[Series]:
    if math.isnan(whole):
        return []
    ends = Grid(max(run.duration_s, 0.1), 2)
    return [Series("capacity", "capacity", "limit", ends, np.array([whole / GIB, whole / GIB]))]


def _chart(
    key: str, title: str, note: str, series: list[Series], *, unit: str, whole: bool = False, decimals: str = ",.3~r"
) -> Chart | None:
    if not series:
        return None
    return Chart(key, title, note, unit=unit, series=tuple(series), whole=whole, decimals=decimals)

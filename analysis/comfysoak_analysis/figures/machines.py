"""Charts of queue, GPU memory, GPU utilisation and model loads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid, bucketed
from comfysoak_analysis.figures.chart import Chart, Series, Spans, line
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import ModelLoad, Origin
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.validity import why_no_gpu
from comfysoak_analysis.workers import users_over_time

GIB = 1024**3
MOST_LINES = 6
MOST_SPANS = 1_500
_LEAST_SPAN_S = 0.002  # of the run, so that a load shorter than a pixel is still seen


def queue(run: Run) -> Chart:
    """What waits at each server, and how many users there were."""
    grid = Grid.over(run.duration_s, least_s=1)
    rows = run.server.dropna(subset=["queue_pending"])
    servers = sorted(rows["server"].unique())
    series = []
    for index, server in enumerate(servers[:MOST_LINES]):
        part = rows[rows["server"] == server]
        waiting = (part["queue_pending"] + part["queue_running"].fillna(0)).to_numpy(dtype=float)
        name = "queue" if len(servers) == 1 else for_chart(server, 60)
        series.append(
            line(name, f"server-{index}", bucketed(grid, run.since_start_s(part["at"]), waiting), kind="step")
        )
    if series and not run.generator.empty:
        users = users_over_time(run)
        seconds = run.since_start_s(users.index.to_series())
        means = bucketed(grid, seconds, users.to_numpy(dtype=float))
        series.append(Series("users", "users", "limit", grid, means.mean, offset_s=grid.width_s / 2))
    note = "Prompts running and waiting, as the server tells it, beside the users who send them."
    empty = "" if series else "The server's queue was never read."
    return Chart("queue", "Queue length", note, series=tuple(series), empty=empty, decimals=",.2~f")


def memory(run: Run) -> Chart:
    """VRAM in use and the capacity of the largest GPU."""
    series = [
        _gpu_line(run, name, index, part, "memory_used_bytes", 1 / GIB)
        for index, name, part in _by_gpu(run, "memory_used_bytes")
    ]
    whole = run.gpu["memory_total_bytes"].max()
    if series and not pd.isna(whole):
        ends = Grid(max(run.duration_s, 0.1), 2)
        series.append(Series("capacity", "capacity", "limit", ends, np.array([whole / GIB, whole / GIB])))
    note = "In use by all processes on the GPU; the band is minimum to maximum."
    return Chart("vram", "VRAM", note, unit="GiB", series=tuple(series), empty=_no_gpu(run, series, "memory"))


def utilisation(run: Run) -> Chart:
    """How busy each GPU was; without extremes, which at any length of bucket are nothing and everything."""
    series = [
        replace(
            _gpu_line(run, name, index, part, "utilisation_ratio", 100, least_s=1), low=None, high=None, kind="area"
        )
        for index, name, part in _by_gpu(run, "utilisation_ratio")
    ]
    note = "Share of time in which some kernel ran, as the driver tells it; it does not say how hard."
    return Chart(
        "utilisation",
        "GPU utilisation",
        note,
        unit="%",
        series=tuple(series),
        whole=True,
        empty=_no_gpu(run, series, "utilisation"),
        decimals=".0f",
    )


def _gpu_line(
    run: Run, name: str, index: int, part: pd.DataFrame, column: str, scale: float, least_s: float = 0.1
) -> Series:
    """A line at twice the pace of the source at most, so that a sample late by chance leaves no hole."""
    seconds = run.since_start_s(part["at"])
    pace_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.1
    grid = Grid.over(run.duration_s, least_s=max(2 * pace_s, least_s))
    values = part[column].to_numpy(dtype=float) * scale
    return line(name, f"gpu-{index}", bucketed(grid, seconds, values, hold_s=max(2.0, 3 * pace_s)))


def loads(run: Run, found: tuple[ModelLoad, ...]) -> Chart:
    """Each load as a bar from its start to its end."""
    chosen = found if len(found) <= MOST_SPANS else found[:: -(-len(found) // MOST_SPANS)]
    rows = [for_chart(load.label, 28) for load in chosen]
    starts = np.array([(load.started - run.start).total_seconds() for load in chosen], dtype=float)
    lasting = np.array([load.moved_s or 0.0 for load in chosen], dtype=float)
    order = tuple(dict.fromkeys(sorted(rows)))
    spans = Spans(
        "model load",
        "load",
        starts,
        np.maximum(lasting, run.duration_s * _LEAST_SPAN_S),
        tuple(rows),
        tuple(_words(load) for load in chosen),
    )
    sources = ", ".join(sorted({load.source.value for load in found}))
    note = (
        f"{len(found):,} loads, told by {sources}."
        if found
        else "Derived from the server's log, GPU memory and node times."
    )
    empty = (
        ""
        if found
        else "No load was seen: no line of the server's log, no step of GPU memory, no slow first step told of one."
    )
    return Chart(
        "loads",
        "Model loads",
        note,
        spans=(spans,) if found else (),
        empty=empty,
        rows=order,
        height=70 + 26 * min(len(order), 12),
    )


def _words(load: ModelLoad) -> str:
    parts = [for_chart(load.label, 60), _LONG.get(load.origin, "")]
    parts.append("how long is not known" if load.moved_s is None else f"moved in {load.moved_s:.2f} s")
    parts.append("" if load.read_s is None else f"read in {load.read_s:.2f} s")
    parts.append(f"{load.size_bytes / GIB:.2f} GiB" if load.size_bytes else "")
    parts += ["only partially" if load.partial else "", "staged" if load.staged else ""]
    parts.append(f"in {for_chart(load.place.node_class or 'a node', 40)}" if load.place is not None else "")
    return " · ".join([*filter(None, parts), f"by {load.source.value}"])


_LONG = {Origin.COLD: "cold", Origin.WARM: "warm"}


def _by_gpu(run: Run, column: str) -> list[tuple[int, str, pd.DataFrame]]:
    """Number, name and samples of each GPU that tells `column`."""
    rows = run.gpu.dropna(subset=[column])
    hosts = rows["host"].nunique()
    parts = [part for _, part in rows.groupby("uuid", sort=True)][:MOST_LINES]
    return [(index, _name(part, hosts), part) for index, part in enumerate(parts)]


def _name(part: pd.DataFrame, hosts: int) -> str:
    """`GPU 0`, with its host where there are several, or its id where it has no number."""
    first = part.iloc[0]
    number = for_chart(first["uuid"], 12) if pd.isna(first["index"]) else f"{int(first['index'])}"
    return f"GPU {number}" + (f" on {for_chart(first['host'], 30)}" if hosts > 1 else "")


def _no_gpu(run: Run, series: list[Series], what: str) -> str:
    if series:
        return ""
    return (
        f"No GPU was watched{why_no_gpu(run)}."
        if run.gpu.empty
        else f"The GPU's {what} could not be read: {_missing(run)}."
    )


def _missing(run: Run) -> str:
    said = run.gpu["missing"].dropna().drop_duplicates().head(2)
    return "; ".join(for_chart(text, 120) for text in said) or "the source does not tell it"

"""Charts of the queue and of model loads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid, bucketed
from comfysoak_analysis.figures import fleet
from comfysoak_analysis.figures.chart import Chart, Series, Spans
from comfysoak_analysis.figures.fleet import Line
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import ModelLoad, Origin
from comfysoak_analysis.text import for_chart
from comfysoak_analysis.workers import users_over_time

GIB = 1024**3
COLOURS = 6
MOST_SPANS = 1_500
_LEAST_SPAN_S = 0.002  # of the run, so that a load shorter than a pixel is still seen


def queue(run: Run) -> Chart:
    """What waits at each server, and how many users there were."""
    found = run.tracks("server", ("queue_pending", "queue_running"), by="server")
    waiting = fleet.told(found, "queue_pending")
    shown = [
        Line(server, _called(server, len(waiting)), f"server-{place % COLOURS}", _all_in(found[server]))
        for place, server in enumerate(list(waiting)[: fleet.MOST_DRAWN])
    ]
    series = fleet.lines(shown, run.duration_s, kind="step", least_s=1)
    users = users_over_time(run)
    if series and len(users):
        grid = Grid.over(run.duration_s, least_s=1)
        seconds = run.since_start_s(users.index.to_series())
        means = bucketed(grid, seconds, users.to_numpy(dtype=float))
        series.append(Series("users", "users", "limit", grid, means.mean, offset_s=grid.width_s / 2))
    note = "Prompts running and waiting, as the server tells it"
    note += "." if run.is_watching else ", beside the users who send them."
    empty = "" if series else "The server's queue was never read."
    return Chart("queue", "Queue length", note, series=tuple(series), empty=empty, decimals=",.2~f")


def _called(server: str, servers: int) -> str:
    return "queue" if servers == 1 else for_chart(server, 60)


def _all_in(columns: Mapping[str, Buckets]) -> Buckets:
    """What waits and what runs; where only the first is told, that."""
    waiting, running = columns["queue_pending"], columns["queue_running"]
    mean, low, high = (np.nan_to_num(one) for one in (running.mean, running.low, running.high))
    return Buckets(waiting.grid, waiting.mean + mean, waiting.low + low, waiting.high + high)


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
        tuple(load.server for load in chosen),
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

"""Charts of prompts: how many ended how, and how long they took."""

from __future__ import annotations

import numpy as np
import pandas as pd

from comfysoak_analysis.buckets import Grid, counts, quantiles
from comfysoak_analysis.figures.chart import Chart, Dots, Series
from comfysoak_analysis.frames import Run
from comfysoak_analysis.prompts import moments
from comfysoak_analysis.text import for_chart
from comfysoak_core.rows import Outcome

MOST_BARS = 90
PROMPTS_A_BAR = 4  # with fewer the rate jumps about
MOST_DOTS = 1_500
FEW_FOR_A_LINE = 3  # a p95 of fewer prompts a bucket would be their maximum
_ORDER = (
    Outcome.SUCCESS,
    Outcome.CACHED,
    Outcome.REJECTED,
    Outcome.INTERRUPTED,
    Outcome.ABORTED,
    Outcome.GIVEN_UP,
    Outcome.NOT_SENT,
    Outcome.VANISHED,
    Outcome.LOST,
    Outcome.TIMEOUT,
    Outcome.FAILED,
    Outcome.OOM,
)


def per_minute(run: Run) -> Chart:
    """Bars of prompts a minute, by how they ended."""
    bars = min(max(len(run.prompts) // PROMPTS_A_BAR, 12), MOST_BARS)
    grid = Grid.over(run.duration_s, bars, least_s=1)
    ended = run.prompts[run.prompts["outcome"].notna()]
    seconds = run.since_start_s(moments(ended))
    series = [
        Series(
            outcome.value.replace("_", " "),
            outcome.value,
            "bar",
            grid,
            counts(grid, seconds[chosen]) * 60 / grid.width_s,
            offset_s=grid.width_s / 2,
        )
        for outcome in _ORDER
        if (chosen := (ended["outcome"] == outcome.value).to_numpy()).any()
    ]
    return Chart(
        "per-minute",
        "Prompts per minute",
        f"By how they ended, in steps of {grid.width_s:g} s. Cached prompts did no work.",
        unit="/min",
        series=tuple(series),
        empty="" if series else "No prompt ended in this run.",
        height=210,
    )


def latency(run: Run) -> Chart:
    """From due to ended."""
    return _times(
        run, "latency_s", "latency", "Latency", "From the moment a prompt was due to its end: what a user waits."
    )


def service(run: Run) -> Chart:
    """From started to ended, as the server tells it."""
    return _times(
        run,
        "service_s",
        "service",
        "Service time",
        "From start to end of execution, by the server's clock where history tells it.",
    )


def _times(run: Run, column: str, key: str, title: str, note: str) -> Chart:
    done = run.prompts[run.prompts["timeable"]].dropna(subset=[column, "done_at"])
    if done.empty:
        return Chart(key, title, note, empty="No prompt came to a timed end.")
    seconds, values = run.since_start_s(done["done_at"]), done[column].to_numpy(dtype=float)
    buckets = max(min(len(done) // (2 * FEW_FOR_A_LINE), MOST_BARS), 1)
    grid = Grid.over(run.duration_s, max(buckets, 4), least_s=1)
    enough = counts(grid, seconds) >= FEW_FOR_A_LINE
    p50, p95 = (np.where(enough, line, np.nan) for line in quantiles(grid, seconds, values, (0.5, 0.95)))
    lines = [
        Series(name, name, "line", grid, line, offset_s=grid.width_s / 2) for name, line in (("p50", p50), ("p95", p95))
    ]
    return Chart(key, title, note, unit="s", series=tuple(lines), dots=_dots(run, done, column), height=230)


def _dots(run: Run, done: pd.DataFrame, column: str) -> tuple[Dots, ...]:
    """Each prompt where they are few enough; else an even sample with the slowest ones kept."""
    if len(done) > MOST_DOTS:
        slowest = done.nlargest(MOST_DOTS // 10, column)
        even = done.iloc[:: -(-len(done) // (MOST_DOTS - len(slowest)))]
        done = pd.concat([slowest, even]).drop_duplicates("id")
    names = list(done["workflow"].value_counts().index)
    return tuple(
        Dots(
            name=for_chart(name, 60),
            colour=f"workflow-{index % 6}",
            seconds=run.since_start_s(part["done_at"]),
            y=part[column].to_numpy(dtype=float),
            words=tuple(f"{for_chart(name, 60)} · {prompt_id[:8]}" for prompt_id in part["id"]),
            small=True,
        )
        for index, name in enumerate(names[:6])
        if not (part := done[done["workflow"] == name].sort_values("done_at")).empty
    )

"""Charts of prompts: how many ended how, and how long they took."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from comfysoak_analysis.buckets import AT_ONCE, Grid, InBuckets
from comfysoak_analysis.figures.chart import Chart, Dots, Series
from comfysoak_analysis.figures.fleet import MOST_DRAWN
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import first_places
from comfysoak_analysis.prompts import moments
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import for_chart
from comfysoak_core.rows import Outcome

MOST_BARS = 90
PROMPTS_A_BAR = 4  # with fewer the rate jumps about
MOST_DOTS = 1_000
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
    found = _counted(run, grid)
    whole = {outcome: np.sum(list(one.values()), axis=0) for outcome, one in found.items()}
    several = len({server for one in found.values() for server in one}) > 1
    series = [_bars(grid, outcome, values, fleet=True) for outcome, values in whole.items() if several]
    series += [_bars(grid, outcome, values, of=of) for outcome, one in found.items() for of, values in one.items()]
    return Chart(
        "per-minute",
        "Prompts per minute",
        f"By how they ended, in steps of {grid.width_s:g} s. Cached prompts did no work.",
        unit="/min",
        series=tuple(series),
        empty="" if series else "No prompt ended in this run.",
        height=210,
    )


def _counted(run: Run, grid: Grid) -> dict[Outcome, dict[str, Floats]]:
    """How many prompts ended so at each server in each bucket, by outcome in the order of the bars."""
    prompts = run.prompts
    servers, outcomes = (prompts[name].array for name in ("server", "outcome"))
    shape = (len(servers.categories) + 1, len(outcomes.categories), grid.count)
    table = np.zeros(shape).ravel()
    for first in range(0, len(prompts), AT_ONCE):
        piece = slice(first, first + AT_ONCE)
        of, how, when = servers.codes[piece], outcomes.codes[piece], run.since_start_s(moments(prompts.iloc[piece]))
        known = (how >= 0) & ~np.isnan(when)
        where = (of[known].astype(np.int64) + 1) * len(outcomes.categories) + how[known]
        table += np.bincount(where * grid.count + grid.index(when[known]), minlength=len(table))
    names = ["", *map(str, servers.categories)]
    return {
        outcome: {names[place]: row for place, row in enumerate(rows) if row.any()}
        for outcome in _ORDER
        if outcome.value in outcomes.categories
        and (rows := table.reshape(shape)[:, outcomes.categories.get_loc(outcome.value)]).any()
    }


def _bars(grid: Grid, outcome: Outcome, values: Floats, *, of: str = "", fleet: bool = False) -> Series:
    name, rate = outcome.value.replace("_", " "), values * 60 / grid.width_s
    return Series(name, outcome.value, "bar", grid, rate, offset_s=grid.width_s / 2, of=of, fleet=fleet)


def latency(run: Run) -> Chart:
    """From due to ended."""
    return run.once(_latency)


def _latency(run: Run) -> Chart:
    return _times(
        run, "latency_s", "latency", "Latency", "From the moment a prompt was due to its end: what a user waits."
    )


def service(run: Run) -> Chart:
    """From started to ended, as the server tells it."""
    return run.once(_service)


def _service(run: Run) -> Chart:
    return _times(
        run,
        "service_s",
        "service",
        "Service time",
        "From start to end of execution, by the server's clock where history tells it.",
    )


def _times(run: Run, column: str, key: str, title: str, note: str) -> Chart:
    prompts = run.prompts
    values, done = prompts[column].to_numpy(), prompts["done_at"].to_numpy()
    known = prompts["timeable"].to_numpy(dtype=bool) & ~np.isnan(values) & ~np.isnat(done)
    count = int(np.count_nonzero(known))
    if not count:
        return Chart(key, title, note, empty="No prompt came to a timed end.")
    buckets = max(min(count // (2 * FEW_FOR_A_LINE), MOST_BARS), 1)
    grid = Grid.over(run.duration_s, max(buckets, 4), least_s=1)
    servers = prompts["server"].array
    names = sorted(first_places(servers, known))
    several = len(names) > 1
    dots = _dots(run, known, column)
    where = np.where(known, run.places(grid, done), -1)
    found = InBuckets(grid, where, values, servers.codes, len(servers.categories))
    lines = _quantile_lines(grid, found, of="" if several else "".join(names), fleet=several)
    for place, server in enumerate(names[:MOST_DRAWN] if several else ()):
        code = servers.categories.get_loc(server)
        lines += [
            replace(one, name=f"{for_chart(server, 60)} {one.name}", colour=f"server-{place % 6}", of=server, kind=kind)
            for one, kind in zip(_quantile_lines(grid, found, code), ("limit", "line"), strict=True)
        ]
    return Chart(key, title, note, unit="s", series=tuple(lines), dots=dots, height=230)


def _quantile_lines(
    grid: Grid, values: InBuckets, part: int | None = None, *, of: str = "", fleet: bool = False
) -> list[Series]:
    found = values.quantiles((0.5, 0.95), part, FEW_FOR_A_LINE)
    return [
        Series(name, name, "line", grid, one, offset_s=grid.width_s / 2, of=of, fleet=fleet)
        for name, one in zip(("p50", "p95"), found, strict=True)
    ]


def _slowest(values: Floats, count: int) -> np.ndarray:
    """The places of the `count` largest."""
    found = np.empty(0, np.int64)
    for first in range(0, len(values), AT_ONCE):
        found = np.concatenate([found, np.arange(first, min(first + AT_ONCE, len(values)))])
        found = found[np.argpartition(values[found], -count)[-count:]] if len(found) > count else found
    return found


def _dots(run: Run, known: np.ndarray, column: str) -> tuple[Dots, ...]:
    """Each known prompt where they are few; else an even sample with the slowest ones kept."""
    count = int(np.count_nonzero(known))
    if count <= MOST_DOTS:
        places = np.flatnonzero(known)
    else:
        slowest = _slowest(np.where(known, run.prompts[column].to_numpy(), -np.inf), MOST_DOTS // 10)
        places = np.union1d(slowest, np.flatnonzero(known)[:: -(-count // (MOST_DOTS - len(slowest)))])
    done = run.prompts[["done_at", "server", "workflow", column]].iloc[places]
    names = list(done["workflow"].value_counts().index)
    return tuple(
        Dots(
            name=for_chart(name, 60),
            colour=f"workflow-{index % 6}",
            seconds=run.since_start_s(part["done_at"]),
            y=part[column].to_numpy(dtype=float),
            words=(for_chart(name, 60),) * len(part),
            small=True,
            of=tuple(part["server"].astype(str)),
        )
        for index, name in enumerate(names[:6])
        if not (part := done[done["workflow"] == name].sort_values("done_at")).empty
    )

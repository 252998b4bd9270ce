"""Cold starts, as the load told of each step: how long from process start to readiness, and to the first picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_core.scenario.quantities import format_duration

KIND = "cold_start"
SEEN_WITHIN_S = 5.0  # probes look now and then: so long afterwards they may still tell that the server was away


@dataclass(slots=True)
class ColdStart:
    """One server's. Times are moments; what did not come is missing."""

    server: str
    started: pd.Timestamp
    ready: pd.Timestamp | None = None
    pictures: dict[str, pd.Timestamp] = field(default_factory=dict)  # workload -> when its first picture was there
    failed: str = ""
    last: pd.Timestamp | None = None

    def in_words(self) -> str:
        """`ready after 12.3 s, first picture after 31.0 s (sdxl)`, or how it failed."""
        said = [f"ready after {_seconds(self.ready - self.started)}"] if self.ready is not None else []
        said += [
            f"first picture after {_seconds(at - self.started)} ({workload})" for workload, at in self.pictures.items()
        ]
        return ", ".join(said + ([f"failed: {self.failed}"] if self.failed else []))


def cold_starts(run: Run) -> tuple[ColdStart, ...]:
    """All of a run, in the order in which they began."""
    found = [one for server, rows in _steps(run).groupby("server") for one in _of_server(str(server), rows)]
    return tuple(sorted(found, key=lambda one: one.started))


def _steps(run: Run) -> pd.DataFrame:
    return run.events[run.events["kind"] == KIND].dropna(subset=["server"])


def _of_server(server: str, rows: pd.DataFrame) -> Iterator[ColdStart]:
    one: ColdStart | None = None
    for at, step, detail in zip(rows["at"], rows["subject"], rows["detail"].fillna(""), strict=True):
        if one is None or step == "start":
            if one is not None:
                yield one
            one = ColdStart(server, at)
        one.last = at
        if step == "ready":
            one.ready = at
        elif step == "picture":
            one.pictures.setdefault(str(detail), at)
        elif step == "failed":
            one.failed = str(detail)
            yield one
            one = None
    if one is not None:
        yield one


def were_to_be_away(run: Run, rows: pd.DataFrame) -> pd.Series:
    """Which rows (`server`, `moment`) tell of a server that was away because the test wanted it so."""
    away = pd.Series(data=False, index=rows.index)
    for one in cold_starts(run):
        begin, end = _begin(run, one.started), (one.last or one.started) + pd.Timedelta(seconds=SEEN_WITHIN_S)
        away |= (rows["server"] == one.server) & (rows["moment"] >= begin) & (rows["moment"] <= end)
    return away


def _begin(run: Run, started: pd.Timestamp) -> pd.Timestamp:
    """When its stage began; a server that the first stage starts may have been away ever before."""
    before = [pd.Timestamp(phase.started_ns) for phase in run.phases if pd.Timestamp(phase.started_ns) <= started]
    return max(before) if len(before) > 1 else pd.Timestamp(0)


def _seconds(span: pd.Timedelta) -> str:
    return format_duration(round(max(span.total_seconds(), 0.0), 2))

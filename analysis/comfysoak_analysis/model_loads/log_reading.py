"""How well the log of a server was read: when not at all, where lines are lost, and by what loads are told instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads.load import ModelLoad, Origin, Source

LOG = "log"  # the subject of events about a log

_FOUND_OUT_WITHIN = pd.Timedelta(seconds=5)  # that lines were lost shows when the log is read again

Span = tuple[pd.Timestamp, pd.Timestamp]


def gaps(run: Run, server: str) -> list[pd.Timestamp]:
    """When lines of this server's log were lost: told so, or another sampler began to read."""
    events = _events(run, server)
    begun = list(events.loc[events["kind"] == "log_source", "at"])
    return sorted([*events.loc[events["kind"] == "log_gap", "at"], *begun[1:]])


def outages(run: Run, server: str) -> list[Span]:
    """From when to when nothing of this server's log could be read, nor its lines be read up afterwards."""
    lost, spans, since = gaps(run, server), list[Span](), None
    for at, kind in _events(run, server)[["at", "kind"]].itertuples(index=False):
        if kind == "log_missing" and since is None:
            since = at
        elif kind in ("source_found", "log_source") and since is not None:
            if any(since <= gap <= at + _FOUND_OUT_WITHIN for gap in lost):
                spans.append((since, at))
            since = None
    return spans if since is None else [*spans, (since, pd.Timestamp.max)]


def _events(run: Run, server: str) -> pd.DataFrame:
    return run.events[(run.events["server"] == server) & (run.events["subject"] == LOG)]


def told_by(run: Run, loads: Sequence[ModelLoad]) -> tuple[str, ...]:
    """Sentences about the sources: how many loads by each, why not by a better one, what is not known of them."""
    return tuple(_sentences(run, loads))


def _sentences(run: Run, loads: Sequence[ModelLoad]) -> Iterator[str]:
    counts = Counter(load.source for load in loads)
    if loads:
        parts = [f"{counts[source]:,} by {_WORDS[source]}" for source in Source if counts[source]]
        yield f"{len(loads):,} {'load' if len(loads) == 1 else 'loads'}: {', '.join(parts)}."
    yield from (f"{server}: {why}." for server in _servers(run) if (why := _why_not_by_log(run, server, loads)))
    for server in _servers(run):
        if lost := len(gaps(run, server)):
            yield f"{server}: lines of its log were lost {_times(lost)}; what was loading then has no known end."
    if counts[Source.PROGRESS] and run.prompts["server"].nunique() > 1:
        yield "Memory tells nothing here: of several servers nobody says which GPU is whose."
    if staged := sum(load.staged for load in loads):
        yield f"{staged:,} with dynamic VRAM: weights were staged, and follow as layers want them; bytes are those."
    if unknown := sum(load.moved_s is None for load in loads):
        yield f"Of {unknown:,} it is not known how long they took."
    if unsure := sum(load.origin is Origin.UNKNOWN for load in loads):
        yield f"Of {unsure:,} it is not known whether a file was read for them."


_WORDS = {
    Source.LOG: "the server's log",
    Source.MEMORY: "steps of GPU memory",
    Source.PROGRESS: "slow first steps",
}


def _servers(run: Run) -> list[str]:
    """Those of the load; where there was none those that were watched."""
    if not run.is_watching:
        return sorted(str(server) for server in run.prompts["server"].dropna().unique())
    pieces = run.reader("server").pieces(("server",))
    return sorted({str(server) for piece in pieces for server in piece["server"].unique().to_pylist() if server})


def _why_not_by_log(run: Run, server: str, loads: Sequence[ModelLoad]) -> str | None:
    """Why the best source did not tell of some loads, or may not have."""
    if run.plan is not None and run.plan.probes.log == "off":
        return "its log was not read (probes.log: off)"
    if away := outages(run, server):
        missing = _events(run, server)
        why = missing.loc[missing["kind"] == "log_missing", "detail"].iloc[-1]
        return f"its log could not be read {_times(len(away))}, and its lines not be read up afterwards, last: {why}"
    if any(load.server == server and load.source is not Source.LOG for load in loads):
        heard = (run.server_log["server"] == server).any()
        return "its log tells of no load" if heard else "no line of its log was read"
    return None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"

"""SERVER_RESTARTED: by what load and probes say.

That queue numbers fall is no proof of a restart: clients may choose them, delete prompts and send some to the front.
The sampler, which sees the whole queue, can tell; its event says how.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

LAST_WORDS = pd.Timedelta(seconds=60)  # what the log said so shortly before
KILLED = pd.Timedelta(seconds=30)  # a kill for memory so shortly before is why
GONE = "server_process_gone"
_TELLING = ("worker_died", "exception", "oom", "memory_leak", "error")
_TOLD_WITHIN = pd.Timedelta(minutes=2)  # another witness sees a restart at its own next request


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.SERVER_RESTARTED)
    if rows.count:
        again = len(rows.events) - int(restarts(rows.events).sum())  # told of by more than one
        yield finding(Code.SERVER_RESTARTED, rows.rows, _words(run, rows), states, count=rows.count - again)


def restarts(events: pd.DataFrame) -> pd.Series:
    """Which of these are a restart of their own: others tell, from elsewhere, of one that was told already."""
    first = pd.Series(data=False, index=events.index, dtype=bool)
    for _, part in events.sort_values("moment").groupby("server"):
        witnesses: set[str] = set()
        began = None
        for index, at, source in zip(part.index, part["moment"], part["source"], strict=True):
            if began is None or source in witnesses or at - began > _TOLD_WITHIN:
                witnesses, began = set(), at
                first[index] = True
            witnesses.add(source)
    return first


def _words(run: Run, rows: Told) -> str:
    """How it showed, what it ended, and what the server or the kernel had said before."""
    said = [_of_server(str(server), part) for server, part in rows.events.groupby("server")]
    lost = ((rows.prompt_count, "prompt"), (len(rows.sockets), "socket"))
    ended = " and ".join(counted(count, what) for count, what in lost if count)
    if ended:
        said.append(f"It ended {ended}.")
    for server, at in rows.rows.dropna(subset=["server"]).groupby("server")["moment"].min().head(3).items():
        said += _before(run, str(server), at)
    return " ".join(said)


def _of_server(server: str, events: pd.DataFrame) -> str:
    """How often, and what it was seen by."""
    details = events["detail"].dropna().map(bounded).drop_duplicates().head(3)
    return f"{server}: {counted(int(restarts(events).sum()), 'restart')}, seen by this: {'; '.join(details)}."


def _before(run: Run, server: str, at: pd.Timestamp) -> Iterable[str]:
    kills = told(run, Code.CGROUP_OOM).events
    if ((kills["server"] == server) & kills["moment"].between(at - KILLED, at)).any():
        yield "CGROUP_OOM came just before: its container ran out of memory."
    events = run.events
    gone = events[(events["kind"] == GONE) & (events["server"] == server) & events["at"].between(at - LAST_WORDS, at)]
    for detail in gone["detail"].dropna().tail(1):
        yield f"Its {bounded(detail)}."
    log = run.server_log
    log = log[(log["server"] == server) & log["at"].between(at - LAST_WORDS, at) & log["kind"].isin(_TELLING)]
    if not log.empty:
        before_s = (at - log["at"].iloc[-1]).total_seconds()
        yield f"Its log, {before_s:.1f} s before: “{bounded(log['text'].iloc[-1], 160)}”."

"""SERVER_RESTARTED: by what load and probes say.

That queue numbers fall is no proof of a restart: clients may choose them, delete prompts and send some to the front.
The sampler, which sees the whole queue, can tell; its event says how.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

LAST_WORDS = pd.Timedelta(seconds=60)  # what the log said so shortly before
KILLED = pd.Timedelta(seconds=30)  # a kill for memory so shortly before is why
_TELLING = ("worker_died", "exception", "oom", "memory_leak", "error")


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.SERVER_RESTARTED)
    if rows.count:
        yield finding(Code.SERVER_RESTARTED, rows.rows, _words(run, rows), states, count=rows.count)


def _words(run: Run, rows: Told) -> str:
    """How it showed, what it ended, and what the server or the kernel had said before."""
    said = [f"{server}: {mostly(part['detail'].map(bounded))}." for server, part in rows.events.groupby("server")]
    lost = ((rows.prompt_count, "prompt"), (len(rows.sockets), "socket"))
    ended = " and ".join(counted(count, what) for count, what in lost if count)
    if ended:
        said.append(f"It ended {ended}.")
    for server, at in rows.rows.dropna(subset=["server"]).groupby("server")["moment"].min().head(3).items():
        said += _before(run, str(server), at)
    return " ".join(said)


def _before(run: Run, server: str, at: pd.Timestamp) -> Iterable[str]:
    kills = told(run, Code.CGROUP_OOM).events
    if ((kills["server"] == server) & kills["moment"].between(at - KILLED, at)).any():
        yield "CGROUP_OOM came just before: its container ran out of memory."
    log = run.server_log
    log = log[(log["server"] == server) & log["at"].between(at - LAST_WORDS, at) & log["kind"].isin(_TELLING)]
    if not log.empty:
        before_s = (at - log["at"].iloc[-1]).total_seconds()
        yield f"Its log, {before_s:.1f} s before: “{bounded(log['text'].iloc[-1], 160)}”."

"""CGROUP_OOM: the kernel killed in a server's container, or its engine says that the container ended for memory."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

SAME_KILL = pd.Timedelta(seconds=30)  # the kernel's word and the engine's about one end of a container
TOLD_MOST = 3
GIB = 1024**3


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding; a kill that kernel and engine both tell of counts once."""
    rows = event_rows(run)
    rows = rows[rows["code"] == Code.CGROUP_OOM.value].sort_values("moment")
    if rows.empty:
        return
    first = rows[~_repeats(rows)]
    said = [f"{server}: {detail}." for server, detail in zip(rows["server"], rows["detail"], strict=True)]
    more = [f"And {counted(len(said) - TOLD_MOST, 'event')} more."] if len(said) > TOLD_MOST else []
    words = " ".join([*said[:TOLD_MOST], *more, *_before(run, first)])
    yield finding(Code.CGROUP_OOM, first, words, states)


def _repeats(rows: pd.DataFrame) -> pd.Series:
    """An end of the container shortly after a kill in it."""
    kills = rows["moment"].where(rows["kind"] == "container_oom_kill")
    lately = rows["moment"] - kills.groupby(rows["server"]).ffill() <= SAME_KILL
    return lately & (rows["kind"] != "container_oom_kill")


def _before(run: Run, events: pd.DataFrame) -> list[str]:
    """What the last reading before the first kill said of memory and of the limit of its server."""
    event = events.iloc[0]
    rows = run.containers
    rows = rows[(rows["server"] == event["server"]) & (rows["at"] <= event["moment"])]
    if rows.empty or pd.isna(rows.iloc[-1]["memory_used_bytes"]):
        return []
    last = rows.iloc[-1]
    limit = "" if pd.isna(last["memory_limit_bytes"]) else f" of {last['memory_limit_bytes'] / GIB:.2f} GiB"
    hits = last["limit_hits"]
    struck = "" if pd.isna(hits) or not hits else f", the limit had been hit {counted(int(hits), 'time')}"
    before_s = (event["moment"] - last["at"]).total_seconds()
    used = f"{last['memory_used_bytes'] / GIB:.2f} GiB{limit}"
    return [f"The last reading, {before_s:.1f} s before the first, had {used} in use{struck}."]

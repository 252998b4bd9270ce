"""WS_HEAD_OF_LINE: a server that took prompts and told nobody; beside it, our own client that did not read."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.causes import because
from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

NEAR = pd.Timedelta(seconds=5)
_UNLESS = "A proxy that stopped passing on what the server sends looks the same."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.WS_HEAD_OF_LINE).events
    if rows.empty:
        return
    first = rows.sort_values("moment").head(3)
    said = [_words(run, *row) for row in zip(first["server"], first["moment"], first["detail"], strict=True)]
    words = " ".join(part for part in (*said, because(run, states, rows, Code.WS_HEAD_OF_LINE)) if part)
    yield finding(Code.WS_HEAD_OF_LINE, rows, words, states, certainty=Certainty.LIKELY, unless=_UNLESS)


def _words(run: Run, server: object, began: pd.Timestamp, detail: str) -> str:
    ended = _first_after(run, "head_of_line_over", server, began)
    lasted = f"for {(ended - began).total_seconds():.0f} s" if ended is not None else "until the end of the run"
    said = f"{server} told nobody anything {lasted}: {detail}."
    stalled = _stalled(run, server, began, ended)
    if stalled:
        said += f" Meanwhile {counted(stalled, 'client')} of the scenario's own did not read (role `stalled`)."
    return said


def _first_after(run: Run, kind: str, server: object, moment: pd.Timestamp) -> pd.Timestamp | None:
    rows = run.events
    rows = rows[(rows["kind"] == kind) & (rows["server"] == server) & (rows["at"] >= moment)]
    return None if rows.empty else rows["at"].min()


def _stalled(run: Run, server: object, began: pd.Timestamp, ended: pd.Timestamp | None) -> int:
    """How many clients stopped reading shortly before it began and read again about when it was over."""
    events = run.events[run.events["server"] == server]
    stalls = events[(events["kind"] == "stalled") & (events["at"] <= began + NEAR)]
    over = events[events["kind"] == "stall_over"]
    going_on = 0
    for subject, since in zip(stalls["subject"], stalls["at"], strict=True):
        ends = over.loc[(over["subject"] == subject) & (over["at"] > since), "at"]
        last = ends.min() if not ends.empty else None
        going_on += last is None or (last >= began and (ended is None or last <= ended + NEAR))
    return going_on

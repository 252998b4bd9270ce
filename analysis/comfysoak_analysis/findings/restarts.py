"""SERVER_RESTARTED and SERVER_DOWN: by the queue number that falls back, by refused connections, by what probes say."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows, prompt_rows, socket_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_REFUSED = "refused"


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding of each."""
    fallen = _fallen_numbers(run)
    told = _told(run, Code.SERVER_RESTARTED)
    if not fallen.empty or not told.empty:
        words = "".join(
            f"The queue number of {server} fell back {counted(len(part), 'time')}, as it does only when a "
            "server starts anew. "
            for server, part in fallen.groupby("server")
        )
        words += _told_words(told)
        rows = fallen if not fallen.empty else told
        yield finding(Code.SERVER_RESTARTED, rows, words.strip(), states)
    down = pd.concat(
        [rows for rows in (_refusals(run), _told(run, Code.SERVER_DOWN)) if not rows.empty] or [_nothing()]
    )
    if not down.empty:
        yield finding(Code.SERVER_DOWN, down, _down_words(down), states)


def _fallen_numbers(run: Run) -> pd.DataFrame:
    """Readings whose highest queue number is below an earlier one of the same server."""
    rows = run.server.dropna(subset=["highest_number"])
    fell = rows.groupby("server")["highest_number"].diff() < 0
    rows = rows[fell]
    return rows.assign(id=rows["server"], moment=rows["at"])[["id", "moment", "server"]]


def _refusals(run: Run) -> pd.DataFrame:
    """Readings that were refused while there was load; before and after it servers of ours come and go."""
    rows = run.server[run.server["missing"].fillna("").str.contains(_REFUSED, case=False, regex=False)]
    rows = rows[(rows["at"] >= run.start) & (rows["at"] <= pd.Timestamp(run.load_end_ns))]
    return rows.assign(id=rows["server"], moment=rows["at"])[["id", "moment", "server"]]


def _told(run: Run, code: Code) -> pd.DataFrame:
    parts = [rows[rows["code"] == code.value] for rows in (prompt_rows(run), socket_rows(run), event_rows(run))]
    present = [part[["id", "moment", "server"]] for part in parts if not part.empty]
    return pd.concat(present, ignore_index=True) if present else _nothing()


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({"id": [], "moment": pd.Series([], dtype="datetime64[ns]"), "server": []})


def _told_words(told: pd.DataFrame) -> str:
    return f"{counted(len(told), 'row')} of load and probes say so." if not told.empty else ""


def _down_words(down: pd.DataFrame) -> str:
    said = []
    for server, part in down.groupby("server"):
        lasted = (part["moment"].max() - part["moment"].min()).total_seconds()
        said.append(f"{server} refused connections {counted(len(part), 'time')} over {lasted:.0f} s.")
    return " ".join(said) or f"Connections were refused {counted(len(down), 'time')}."

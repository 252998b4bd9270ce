"""SERVER_RESTARTED and SERVER_DOWN: by what load and probes say, and by refused connections.

That queue numbers fall is no proof of a restart: clients may choose them, delete prompts and send some to the front.
The sampler, which sees the whole queue, can tell; its event says how.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows, prompt_rows, socket_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_REFUSED = "refused"


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding of each."""
    restarted = _told(run, Code.SERVER_RESTARTED)
    if not restarted.empty:
        yield finding(Code.SERVER_RESTARTED, restarted, _restarted_words(run, restarted), states)
    down = pd.concat(
        [rows for rows in (_refusals(run), _told(run, Code.SERVER_DOWN)) if not rows.empty] or [_nothing()]
    )
    if not down.empty:
        yield finding(Code.SERVER_DOWN, down, _down_words(down), states)


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


def _restarted_words(run: Run, restarted: pd.DataFrame) -> str:
    events = event_rows(run)
    events = events[events["code"] == Code.SERVER_RESTARTED.value]
    said = [f"{server}: {mostly(part['detail'])}." for server, part in events.groupby("server")]
    others = len(restarted) - len(events)
    return " ".join(said + ([f"{counted(others, 'prompt or socket')} ended by it."] if others else []))


def _down_words(down: pd.DataFrame) -> str:
    said = []
    for server, part in down.groupby("server"):
        lasted = (part["moment"].max() - part["moment"].min()).total_seconds()
        said.append(f"{server} refused connections {counted(len(part), 'time')} over {lasted:.0f} s.")
    return " ".join(said) or f"Connections were refused {counted(len(down), 'time')}."

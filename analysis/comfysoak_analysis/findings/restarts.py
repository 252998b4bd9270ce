"""SERVER_RESTARTED and SERVER_DOWN: by what load and probes say, and by refused connections.

That queue numbers fall is no proof of a restart: clients may choose them, delete prompts and send some to the front.
The sampler, which sees the whole queue, can tell; its event says how.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.cold_starts import were_to_be_away
from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows, prompt_rows, socket_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

_REFUSED = "refused"
BACK = ("server_up", "server_restarted")  # what load and sampler tell of a server that answers again


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding of each."""
    restarted = _told(run, Code.SERVER_RESTARTED)
    if not restarted.empty:
        yield finding(Code.SERVER_RESTARTED, restarted, _restarted_words(run, restarted), states)
    down = pd.concat(
        [rows for rows in (_refusals(run), _told(run, Code.SERVER_DOWN)) if not rows.empty] or [_nothing()]
    )
    if not down.empty:
        yield finding(Code.SERVER_DOWN, down, _down_words(run, down), states)


def _refusals(run: Run) -> pd.DataFrame:
    """Readings that were refused while there was load; before and after it servers of ours come and go."""
    rows = run.server[run.server["missing"].fillna("").str.contains(_REFUSED, case=False, regex=False)]
    rows = rows[(rows["at"] >= run.start) & (rows["at"] <= pd.Timestamp(run.load_end_ns))]
    rows = rows.assign(id=rows["server"], moment=rows["at"])[["id", "moment", "server"]]
    return rows[~were_to_be_away(run, rows)]


def _told(run: Run, code: Code) -> pd.DataFrame:
    sources = (_with_culprits(run, prompt_rows(run)), socket_rows(run), event_rows(run))
    parts = [rows[rows["code"] == code.value] for rows in sources]
    present = [part[["id", "moment", "server"]] for part in parts if not part.empty]
    return pd.concat(present, ignore_index=True) if present else _nothing()


def _with_culprits(run: Run, prompts: pd.DataFrame) -> pd.DataFrame:
    """A gateway that answered, or was well while it did not, is not what was down: the ComfyUI behind it was."""
    if run.plan is None or run.plan.gateway is None or not run.plan.servers:
        return prompts
    behind = prompts["http_status"].notna() | (prompts["outcome"] == Outcome.TIMEOUT.value)
    return prompts.assign(server=prompts["server"].mask(behind, ", ".join(run.plan.servers)))


def _nothing() -> pd.DataFrame:
    return pd.DataFrame({"id": [], "moment": pd.Series([], dtype="datetime64[ns]"), "server": []})


def _restarted_words(run: Run, restarted: pd.DataFrame) -> str:
    events = event_rows(run)
    events = events[events["code"] == Code.SERVER_RESTARTED.value]
    said = [f"{server}: {mostly(part['detail'])}." for server, part in events.groupby("server")]
    others = len(restarted) - len(events)
    return " ".join(said + ([f"{counted(others, 'prompt or socket')} ended by it."] if others else []))


def _down_words(run: Run, down: pd.DataFrame) -> str:
    said = []
    prompts = _with_culprits(run, prompt_rows(run))
    hit = prompts[prompts["code"] == Code.SERVER_DOWN.value].groupby("server").size()
    for server, part in down.groupby("server"):
        began_s, ended_s = run.since_start_s(pd.Series([part["moment"].min(), _back(run, str(server), part)]))
        cost = f", {counted(int(hit[server]), 'prompt')} lost or failed" if server in hit else ""
        refused = f"connections refused {counted(len(part), 'time')}{cost}"
        said.append(f"{server} was down from {began_s:.0f} s to {ended_s:.0f} s into the run: {refused}.")
    return " ".join(said) or f"Connections were refused {counted(len(down), 'time')}."


def _back(run: Run, server: str, part: pd.DataFrame) -> pd.Timestamp:
    """When it was first seen to answer again; else when it was last seen to refuse."""
    events = run.events
    last = part["moment"].max()
    back = events[events["kind"].isin(BACK) & (events["server"] == server) & (events["at"] >= last)]
    return pd.Timestamp(last if back.empty else back["at"].min())

"""SERVER_DOWN: connections were refused, by what load and probes saw."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.cold_starts import were_to_be_away
from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.machine.restarts import GONE
from comfysoak_analysis.findings.readings import watches
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

BACK = ("server_up", "server_restarted")  # what load and sampler tell of a server that answers again
_ENDED_BEFORE = pd.Timedelta(seconds=10)


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.SERVER_DOWN)
    prompts = _with_culprits(run, rows.prompts)
    rows = Told(prompts, rows.sockets, rows.events, rows.prompt_count, rows.mix)
    parts = [part.astype({"id": object, "server": object}) for part in (_refusals(run), rows.rows) if not part.empty]
    if parts:
        down = pd.concat(parts, ignore_index=True)
        hidden = rows.prompt_count - len(prompts)
        yield finding(
            Code.SERVER_DOWN, down, _words(run, down, prompts), states, count=len(down) + hidden, chart="queue"
        )


def _refusals(run: Run) -> pd.DataFrame:
    """Readings that were refused while there was load; before and after it servers of ours come and go."""
    found = [(server, at, server) for server, watch in watches(run).items() for at in watch.refused]
    rows = pd.DataFrame(found, columns=["id", "moment", "server"])
    rows["moment"] = pd.to_datetime(rows["moment"])
    rows = rows[(rows["moment"] >= run.start) & (rows["moment"] <= pd.Timestamp(run.load_end_ns))]
    return rows[~were_to_be_away(run, rows)]


def _with_culprits(run: Run, prompts: pd.DataFrame) -> pd.DataFrame:
    """A gateway that answered, or was well while it did not, is not what was down: the ComfyUI behind it was."""
    prompts = prompts.astype({"server": object})
    if run.plan is None or run.plan.gateway is None or not run.plan.servers:
        return prompts
    behind = prompts["http_status"].notna() | (prompts["outcome"] == Outcome.TIMEOUT.value)
    return prompts.assign(server=prompts["server"].mask(behind, ", ".join(run.plan.servers)))


def _words(run: Run, down: pd.DataFrame, prompts: pd.DataFrame) -> str:
    """By server: from when to when, how many connections and what that cost."""
    said = []
    hit = prompts.groupby("server").size()
    for server, part in down.groupby("server"):
        began_s, ended_s = run.since_start_s(pd.Series([part["moment"].min(), _back(run, str(server), part)]))
        cost = f", {counted(int(hit[server]), 'prompt')} lost or failed" if server in hit else ""
        refused = f"connections refused {counted(len(part), 'time')}{cost}"
        said.append(f"{server} was down from {began_s:.0f} s to {ended_s:.0f} s into the run: {refused}.")
        said += [f"Its {how}." for how in _gone(run, str(server), part["moment"])]
    return " ".join(said) or f"Connections were refused {counted(len(down), 'time')}."


def _gone(run: Run, server: str, refused: pd.Series) -> list[str]:
    """How its process ended, where the sampler saw that: `process 21824, python: was killed by SIGKILL`."""
    events = run.events[(run.events["kind"] == GONE) & (run.events["server"] == server)]
    near = events["at"].between(refused.min() - _ENDED_BEFORE, refused.max())
    return [bounded(detail) for detail in events.loc[near, "detail"].dropna().tail(2)]


def _back(run: Run, server: str, part: pd.DataFrame) -> pd.Timestamp:
    """When it was first seen to answer again; else when it was last seen to refuse."""
    events = run.events
    last = part["moment"].max()
    back = events[events["kind"].isin(BACK) & (events["server"] == server) & (events["at"] >= last)]
    return pd.Timestamp(last if back.empty else back["at"].min())

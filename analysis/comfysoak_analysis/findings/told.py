"""Codes that rows carry: load and probes decided on them while they had the wire before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from comfysoak_analysis.cold_starts import were_to_be_away
from comfysoak_analysis.findings.lifetimes import Cut, cuts
from comfysoak_analysis.frames import Run
from comfysoak_analysis.prompts import NOT_INTENDED, moments
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

_ABSENCES = (Code.SERVER_DOWN.value, Code.SERVER_RESTARTED.value)
_CUTS = (*_ABSENCES, Code.WS_ABNORMAL.value)  # what a server that is taken away on purpose does to sockets
PLANTED = "fault"  # what a simulator was told to do is no observation


@dataclass(frozen=True, slots=True)
class Told:
    """What rows say of one code; each frame has `id`, `moment` and `server` beside its own columns."""

    prompts: pd.DataFrame  # those kept for a closer look: see `prompt_count`
    sockets: pd.DataFrame
    events: pd.DataFrame
    prompt_count: int  # all of them
    mix: pd.DataFrame  # all prompts: `count` by `workflow` and `server`, the largest first

    @property
    def count(self) -> int:
        """Prompts, sockets and events together."""
        return self.prompt_count + len(self.sockets) + len(self.events)

    @property
    def rows(self) -> pd.DataFrame:
        """`id`, `moment` and `server` of all of them."""
        parts = [part[["id", "moment", "server"]] for part in (self.prompts, self.sockets, self.events)]
        present = [part.astype({"server": object}) for part in parts if not part.empty]
        return pd.concat(present, ignore_index=True) if present else parts[0]


def told(run: Run, code: Code) -> Told:
    """Who carries `code`."""
    prompts, canaries, sockets, events = (rows[rows["code"] == code.value] for rows in run.once(_all))
    count = max(run.once(_counts).get(code.value, 0), len(prompts)) + len(canaries)
    if not canaries.empty:
        parts = [part.astype({"workflow": object, "server": object}) for part in (prompts, canaries) if not part.empty]
        prompts = pd.concat(parts, ignore_index=True)
    is_whole = count == len(prompts)
    return Told(prompts, sockets, events, count, _mix(prompts) if is_whole else _mix(_lean(run, code), canaries))


def _mix(*parts: pd.DataFrame) -> pd.DataFrame:
    """How many there are of each workflow on each server."""
    if all(part.empty for part in parts):
        return pd.DataFrame({"workflow": [], "server": [], "count": []})
    counts = [part[["workflow", "server"]].value_counts(sort=False).reset_index(name="count") for part in parts]
    named = pd.concat([one[one["count"] > 0].astype({"workflow": str, "server": str}) for one in counts])
    return named.sort_values("count", ascending=False, kind="stable", ignore_index=True)


def _lean(run: Run, code: Code) -> pd.DataFrame:
    """Workflow and server of all prompts that carry `code`, where not all were kept for a closer look."""
    rows = run.prompts
    return rows.loc[(rows["code"] == code.value) & _speaks(rows) & rows["intended"], ["workflow", "server"]]


def _all(run: Run) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    return prompt_rows(run), wrong_canaries(run), socket_rows(run), event_rows(run)


def _counts(run: Run) -> Mapping[str, int]:
    """How many prompts carry each code, by the table that has every prompt."""
    rows = run.prompts
    counted = rows.loc[_speaks(rows) & rows["intended"], "code"].value_counts()
    return {str(code): int(count) for code, count in counted.items() if count}


def _speaks(rows: pd.DataFrame) -> pd.Series:
    """Which prompts have a code that says something: unexpected ends, and successes with a flaw."""
    flawed = ~rows["ok"] | (rows["outcome"] == Outcome.SUCCESS.value)
    return rows["code"].notna() & flawed & rows["work"]


def prompt_rows(run: Run) -> pd.DataFrame:
    """Prompts with a code: those that did not end as expected, and those that did in spite of it."""
    rows = run.notable
    rows = rows[_speaks(rows) & ~rows["outcome"].isin(NOT_INTENDED)]
    rows = rows.assign(moment=moments(rows))
    return rows[~(were_to_be_away(run, rows) & rows["code"].isin(_ABSENCES))]


def socket_rows(run: Run) -> pd.DataFrame:
    """Sockets whose end was a failure; those whose lifetimes cluster are WS_IDLE_CUT."""
    rows = _failed_sockets(run)
    idle = rows["id"].isin([name for cut in cuts(rows) for name in cut.rows["id"]])
    return rows.assign(code=rows["code"].mask(idle, Code.WS_IDLE_CUT.value))


def named_sockets(run: Run) -> pd.DataFrame:
    """All sockets, each end by the code that the findings have for it."""
    rows = run.sessions
    idle = {name for cut in idle_cuts(run) for name in cut.rows["id"]}
    return rows.assign(code=rows["code"].mask(rows["id"].isin(idle), Code.WS_IDLE_CUT.value)) if idle else rows


def idle_cuts(run: Run) -> list[Cut]:
    """The sockets that were cut when idle, by server."""
    return cuts(_failed_sockets(run))


def _failed_sockets(run: Run) -> pd.DataFrame:
    rows = run.sessions
    rows = rows[rows["code"].notna()]
    rows = rows.assign(moment=rows["closed"].fillna(rows["opening"]))
    return rows[~(were_to_be_away(run, rows) & rows["code"].isin(_CUTS))]


def event_rows(run: Run) -> pd.DataFrame:
    """Events with a code, less those by which a simulator says what it was told to do, and intended absences."""
    rows = run.events
    rows = rows[rows["code"].notna() & (rows["kind"] != PLANTED)]
    rows = rows.assign(moment=rows["at"], id=rows["subject"])
    taken_down = rows["moment"] > pd.Timestamp(run.load_end_ns)
    return rows[~((were_to_be_away(run, rows) | taken_down) & rows["code"].isin(_ABSENCES))]


def wrong_canaries(run: Run) -> pd.DataFrame:
    """Canaries whose file was missing, or no picture as it should be: told with all other prompts of that kind."""
    rows = run.canaries
    rows = rows[rows["code"].isin([Code.OUTPUT_WRONG.value, Code.OUTPUT_MISSING.value])]
    return rows.assign(moment=moments(rows), workflow="canary " + rows["workflow"].astype(str))

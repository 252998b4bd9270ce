"""Codes that rows carry: load and probes decided on them while they had the wire before them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.cold_starts import were_to_be_away
from comfysoak_analysis.findings.corrupt import wrong_rows
from comfysoak_analysis.findings.evidence import counted, finding, known_code, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.lifetimes import Cut, cuts
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.prompts import NOT_INTENDED, moments
from comfysoak_core.codes import Code

_ABSENCES = (Code.SERVER_DOWN.value, Code.SERVER_RESTARTED.value)
PLANTED = "fault"  # what a simulator was told to do is no observation


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """One finding for each code on prompts that did not end as expected, on sockets and on events."""
    prompts, sockets, events = _with_canaries(run), socket_rows(run), event_rows(run)
    for name in sorted({*prompts["code"], *sockets["code"], *events["code"]}):
        code = known_code(name)
        if code is None:
            continue
        parts = [rows[rows["code"] == name] for rows in (prompts, sockets, events)]
        present = [part for part in parts if not part.empty]
        yield finding(code, pd.concat(present, ignore_index=True), _words(*parts), states)


def prompt_rows(run: Run) -> pd.DataFrame:
    """Prompts with a code: those that did not end as expected, and those that did in spite of it."""
    rows = run.prompts
    unexpected_or_warned = ~rows["ok"] | (rows["outcome"] == "success")
    rows = rows[rows["code"].notna() & unexpected_or_warned & rows["work"] & ~rows["outcome"].isin(NOT_INTENDED)]
    return rows.assign(moment=moments(rows))


def _with_canaries(run: Run) -> pd.DataFrame:
    rows, canaries = prompt_rows(run), wrong_rows(run)
    return rows if canaries.empty else pd.concat([rows, canaries], ignore_index=True)


def socket_rows(run: Run) -> pd.DataFrame:
    """Sockets whose end was a failure; those whose lifetimes cluster are WS_IDLE_CUT."""
    rows = _failed_sockets(run)
    idle = rows["id"].isin([name for cut in cuts(rows) for name in cut.rows["id"]])
    return rows.assign(code=rows["code"].mask(idle, Code.WS_IDLE_CUT.value))


def idle_cuts(run: Run) -> list[Cut]:
    """The sockets that were cut when idle, by server."""
    return cuts(_failed_sockets(run))


def _failed_sockets(run: Run) -> pd.DataFrame:
    rows = run.sessions
    rows = rows[rows["code"].notna()]
    return rows.assign(moment=rows["closed"].fillna(rows["opening"]))


def event_rows(run: Run) -> pd.DataFrame:
    """Events with a code, less those by which a simulator says what it was told to do, and intended absences."""
    rows = run.events
    rows = rows[rows["code"].notna() & (rows["kind"] != PLANTED)]
    rows = rows.assign(moment=rows["at"], id=rows["subject"])
    taken_down = rows["moment"] > pd.Timestamp(run.load_end_ns)
    return rows[~((were_to_be_away(run, rows) | taken_down) & rows["code"].isin(_ABSENCES))]


def _words(prompts: pd.DataFrame, sockets: pd.DataFrame, events: pd.DataFrame) -> str:
    said = []
    if not prompts.empty:
        said.append(f"{counted(len(prompts), 'prompt')}: {mostly(prompts['workflow'])}{_where(prompts)}.")
    if not sockets.empty:
        said.append(f"{counted(len(sockets), 'socket')}: {mostly(sockets['role'])}.")
    if not events.empty:
        said.append(f"{counted(len(events), 'event')} told by {mostly(events['source'])}.")
    return " ".join(said)


def _where(prompts: pd.DataFrame) -> str:
    nodes, types = mostly(prompts["node_class"]), mostly(prompts["error_type"])
    return (f", in {nodes}" if nodes else "") + (f", {types}" if types else "")

"""WS_TOO_BIG: sockets that closed (1009) on a message larger than the client takes."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import between, carried, messages
from comfysoak_analysis.findings.evidence import counted, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.WS_TOO_BIG, _words, caused=False)


def _words(run: Run, rows: Told) -> str:
    """Who closed, why, and whose prompts ran: their workflow sends the large message."""
    sockets = rows.sockets
    if sockets.empty:
        return f"{counted(rows.count, 'message')} was larger than the client takes: {messages(rows.events['detail'])}."
    said = f"{counted(len(sockets), 'socket')} ({mostly(sockets['role'])}) closed with 1009 by {_closers(rows)}"
    told = messages(sockets["reason"])
    running = _workflows(run, rows)
    said += f" at an age of {between(sockets['open_s'])}" + (f": {told}." if told else ".")
    return said + (f" Then ran {running}." if running else "")


def _closers(rows: Told) -> str:
    return mostly(rows.sockets["closed_by"]) or "nobody named"


def _workflows(run: Run, rows: Told) -> str:
    """The workflows that were running on those servers when the first of the sockets closed."""
    first = rows.sockets.sort_values("moment").head(50)
    prompts, at = run.prompts, first["moment"].iloc[0]
    running = prompts["server"].isin(first["server"].unique()) & (prompts["started_at"] <= at)
    running &= (prompts["done_at"] >= at) | (prompts["done_at"].isna() & (run.end >= at))
    return mostly(prompts.loc[running, "workflow"])

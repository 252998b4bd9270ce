"""WS_ZOMBIE: sockets that stayed open and were told nothing while others of the same server were."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code
from comfysoak_core.scenario.sessions import ReconnectOrder

_UNLESS = "A proxy that keeps a socket open and passes on nothing but pings looks the same."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.WS_ZOMBIE).sockets
    if rows.empty:
        return
    silent_s = rows["longest_silence_s"].median()
    said = f"{counted(len(rows), 'socket')} ({mostly(rows['role'])}) answered pings and were told nothing else."
    said += f" They were replaced after {silent_s:.0f} s; their prompts learned their end from /history."
    told_why = run.sessions.loc[run.sessions["reason"].notna(), ["reason", "reopened_as"]]
    on_purpose = told_why["reason"].astype(object).str.contains(ReconnectOrder.OPEN_FIRST.value, regex=False)
    doubled = set(told_why.loc[on_purpose, "reopened_as"].dropna()) & set(rows["id"])
    if doubled:
        said += f" {len(doubled)} of them had been opened before an older socket with the same client id closed, as the"
        said += " scenario asked."
    doubt = "" if len(doubled) == len(rows) else _UNLESS
    certainty = Certainty.LIKELY if doubt else Certainty.CERTAIN
    yield finding(Code.WS_ZOMBIE, rows, said, states, certainty=certainty, unless=doubt)

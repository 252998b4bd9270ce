"""COLD_START_FAILED: a server that was to start anew came no further, and how far."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_TOLD_MOST = 3


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one."""
    rows = event_rows(run)
    rows = rows[rows["code"] == Code.COLD_START_FAILED.value]
    if not rows.empty:
        said = [f"{server}: {detail}." for server, detail in zip(rows["server"], rows["detail"], strict=True)]
        yield finding(Code.COLD_START_FAILED, rows.assign(id=None), " ".join(said[:_TOLD_MOST]), states)

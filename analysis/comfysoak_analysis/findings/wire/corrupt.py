"""OUTPUT_CORRUPT: the golden canary of a server gave other pixels than before."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.prompts import moments
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

SERVERS_NAMED = 5


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """One finding for all servers; the words name each with what differed first."""
    canaries = run.canaries
    rows = canaries[canaries["code"] == Code.OUTPUT_CORRUPT.value]
    if not rows.empty:
        words = " ".join(_words(canaries, part) for _, part in list(rows.groupby("server"))[:SERVERS_NAMED])
        yield finding(Code.OUTPUT_CORRUPT, rows.assign(moment=moments(rows)), words, states)


def _words(canaries: pd.DataFrame, rows: pd.DataFrame) -> str:
    first = rows.sort_values("scheduled").iloc[0]
    compared = canaries[(canaries["server"] == first["server"]) & canaries["outputs_ok"].notna()]
    moment = f"{pd.Timestamp(first['scheduled']):%H:%M:%S} UTC"
    said = bounded(str(first["output_problem"] or ""), 200)
    return (
        f"{first['server']}: {len(rows):,} of {counted(len(compared), 'canary picture')}, first at {moment} ({said})."
    )

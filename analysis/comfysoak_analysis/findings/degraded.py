"""SILENT_DEGRADE: the server's log says that a model was loaded only in part."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(_run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    partial = [load for load in states.loads if load.partial]
    if partial:
        rows = pd.DataFrame(
            {
                "id": [load.model for load in partial],
                "moment": [load.ended for load in partial],
                "server": [load.server for load in partial],
            }
        )
        share = f"{counted(len(partial), 'load')} of {len(states.loads):,}"
        words = f"{share} put a model only partially on the GPU: {mostly(rows['id'])}."
        yield finding(Code.SILENT_DEGRADE, rows, words, states)

"""SILENT_DEGRADE: by the server's log a model was loaded only in part, or a VAE worked in tiles for want of memory."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    partial = [load for load in states.loads if load.partial]
    loads = pd.DataFrame(
        [(load.label, load.known_until, load.server) for load in partial], columns=["id", "moment", "server"]
    )
    tiled = run.server_log[run.server_log["kind"] == "vae_tiled"]
    words = []
    if partial:
        share = f"{counted(len(partial), 'load')} of {len(states.loads):,}"
        words.append(f"{share} put a model only partially on the GPU: {mostly(loads['id'])}.")
    if not tiled.empty:
        words.append(f"The VAE ran out of memory {counted(len(tiled), 'time')} and did the same in tiles.")
    parts = [part for part in (loads, tiled.assign(id=None, moment=tiled["at"])) if not part.empty]
    if parts:
        rows = pd.concat([part[["id", "moment", "server"]] for part in parts], ignore_index=True)
        yield finding(Code.SILENT_DEGRADE, rows, " ".join(words), states, chart="loads")

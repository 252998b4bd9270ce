"""CUDA_POISONED: one illegal access, after which every prompt of that server fails with a CUDA error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.findings import gpu_lost
from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.prompts import NOT_INTENDED, moments
from comfysoak_core.codes import Code

IN_A_ROW = 3  # fewer may be one bad node
_WORDS = "CUDA error"


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers; none where a GPU was lost, which makes every prompt fail as well."""
    if any(True for _ in gpu_lost.find(run, states)):
        return
    rows = run.prompts[~run.prompts["outcome"].isin(NOT_INTENDED)]
    rows = rows.assign(moment=moments(rows)).sort_values("moment")
    parts = [part for _, of_server in rows.groupby("server") for part in _series(of_server)]
    if parts:
        words = " ".join(
            f"{counted(len(part), 'prompt')} in a row failed with a CUDA error on {part['server'].iloc[0]}."
            for part in parts
        )
        yield finding(Code.CUDA_POISONED, pd.concat(parts, ignore_index=True), words, states)


def _series(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Stretches of prompts, each after the other, that all failed with a CUDA error."""
    broken = rows["error_message"].fillna("").str.contains(_WORDS, regex=False)
    stretch = np.cumsum(broken.ne(broken.shift()).to_numpy())
    for _, part in rows[broken].groupby(stretch[broken.to_numpy()]):
        if len(part) >= IN_A_ROW:
            yield part

"""CUDA_POISONED: one illegal access, after which every prompt of that server fails with a CUDA error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.machine import gpu_lost
from comfysoak_analysis.findings.whose import gpus
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.prompts import NOT_INTENDED, moments
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

IN_A_ROW = 3  # fewer may be one bad node
TOLD_LATE_S = 60.0  # exporters tell of a GPU's loss so much after its prompts have begun to fail
_WORDS = ("CUDA error", "an illegal memory access", "device-side assert")


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers; none of what fails since a GPU is lost, as then every prompt does."""
    rows = run.notable[~run.notable["outcome"].isin(NOT_INTENDED)]
    rows = rows.assign(moment=moments(rows))
    broken = rows[_is_cuda_error(rows)].dropna(subset=["moment"]).sort_values("moment")
    lost = gpu_lost.losses(run)
    parts = [
        part
        for server, of_server in broken.groupby("server", observed=True)
        for part in _series(_before(run, lost, str(server), of_server), _others(run, rows, str(server)))
    ]
    if parts:
        words = " ".join(
            f"{counted(len(part), 'prompt')} in a row failed with a CUDA error on {part['server'].iloc[0]}."
            for part in parts
        )
        yield finding(Code.CUDA_POISONED, pd.concat(parts, ignore_index=True), words, states, chart="incidents")


def _before(run: Run, lost: pd.DataFrame, server: str, broken: pd.DataFrame) -> pd.DataFrame:
    """What failed before a GPU was lost that is, or may be, this server's."""
    others = {gpu.uuid for gpu in gpus(run) if gpu.servers and server not in gpu.servers}
    first = lost.loc[~lost["id"].isin(others), "moment"].min()
    return broken if pd.isna(first) else broken[broken["moment"] < first - pd.Timedelta(seconds=TOLD_LATE_S)]


def _is_cuda_error(rows: pd.DataFrame) -> pd.Series:
    """An error of CUDA itself; running out of memory is none."""
    said = rows["error_message"].fillna("")
    named = pd.Series(data=False, index=rows.index)
    for words in _WORDS:
        named |= said.str.contains(words, regex=False)
    return named & (rows["outcome"] != Outcome.OOM.value)


def _others(run: Run, rows: pd.DataFrame, server: str) -> np.ndarray:
    """When any other prompt of this server ended that it had worked on: one of these ends a stretch."""
    fine = run.prompts["ok"] & run.prompts["work"] & (run.prompts["server"] == server)
    failed = rows[(rows["server"] == server) & ~_is_cuda_error(rows)]
    ended = np.concatenate([run.prompts.loc[fine, "done_at"].to_numpy(), failed["moment"].to_numpy()])
    return np.sort(ended[~np.isnat(ended)])


def _series(broken: pd.DataFrame, others: np.ndarray) -> Iterator[pd.DataFrame]:
    """Stretches of prompts of one server that failed with a CUDA error, with no other between them."""
    stretch = np.searchsorted(others, broken["moment"].to_numpy(), side="right")
    for _, part in broken.groupby(stretch):
        if len(part) >= IN_A_ROW:
            yield part

"""LOST_TERMINAL: history had the end of a prompt of which its socket was told nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.carried import carried, prompts_in_words
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.LOST_TERMINAL, _words)


def _words(run: Run, rows: Told) -> str:
    """Whether the socket had been away, which explains it, or was open all the time, which does not."""
    prompts = rows.prompts
    in_gap = int(_in_gap(run, prompts).sum())
    late_s = float(prompts["end_error_s"].max())
    late = "" if math.isnan(late_s) else f", noticed at most {late_s:.1f} s late"
    said = f"{prompts_in_words(rows)}{late}."
    open_all = len(prompts) - in_gap
    if in_gap:
        said += f" Of {in_gap:,} the socket had been dropped meanwhile."
    if open_all:
        said += f" Of {open_all:,} the socket was open throughout: the server or a proxy did not pass the message on."
    return said


def _in_gap(run: Run, prompts: pd.DataFrame) -> pd.Series:
    """Whose socket (same client id) ended with a code between sending and end."""
    dropped = run.sessions[run.sessions["code"].notna() & run.sessions["client_id"].isin(prompts["client_id"])]
    by_client = {client: part["closed"].dropna() for client, part in dropped.groupby("client_id", observed=True)}
    return pd.Series(
        [
            bool(by_client[client].between(first, last).any()) if client in by_client else False
            for client, first, last in zip(prompts["client_id"], prompts["sent"], prompts["moment"], strict=True)
        ],
        index=prompts.index,
        dtype=bool,
    )

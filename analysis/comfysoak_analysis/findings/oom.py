"""OOM: prompts that ran out of GPU memory, how full it was, and what the next prompt paid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

MOST_STATES = 200  # failures whose GPU state is looked at
MOST_PRICES = 20  # failures whose next success is looked at


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.OOM)
    if rows.prompt_count:
        words = _words(run, rows.prompts, rows.prompt_count, states)
        yield finding(Code.OOM, rows.rows, words, states, count=rows.count, chart="vram")


def _words(run: Run, rows: pd.DataFrame, count: int, states: GpuStates) -> str:
    said = f"{counted(count, 'prompt')} ran out of GPU memory: {mostly(rows['workflow'])}"
    nodes = mostly(rows["node_class"])
    said += f", in {nodes}." if nodes else "."
    looked_at = list(rows["moment"].head(MOST_STATES))
    seen = states.each(looked_at, [None] * len(looked_at))
    known = [state.vram_share for state in seen if state.vram_share is not None]
    if known:
        which = "the GPU" if seen[0].gpus == 1 else f"the fullest of {seen[0].gpus} GPUs"
        said += f" VRAM reached {max(known):.0%} of {which} within 2 s of it."
    return said + _price(run, rows, states)


def _price(run: Run, rows: pd.DataFrame, states: GpuStates) -> str:
    """What the first success after each failure took, against the median of its workflow, and whether it loaded."""
    good = run.prompts["timed"] & run.prompts["ok"]
    at, service_s = run.prompts["done_at"].to_numpy(), run.prompts["service_s"].to_numpy(dtype=float)
    ratios, loaded = [], False
    for moment, server in rows[["moment", "server"]].head(MOST_PRICES).itertuples(index=False):
        later = np.flatnonzero(good & (run.prompts["server"] == server) & (run.prompts["done_at"] > moment))
        if not later.size:
            continue
        following = later[np.argmin(at[later])]
        same = good & (run.prompts["workflow"] == run.prompts["workflow"].iloc[following])
        usual_s = float(np.nanmedian(service_s[same])) if np.isfinite(service_s[same]).any() else 0.0
        if usual_s > 0 and np.isfinite(service_s[following]):
            ratios.append(float(service_s[following] / usual_s))
            loaded |= any(
                load.server == server and moment <= load.started <= pd.Timestamp(at[following]) for load in states.loads
            )
    if not ratios or max(ratios) < 1.5:
        return ""
    often = "" if len(ratios) == 1 else "up to "
    why = ", for loading models again" if loaded else ""
    return f" The next success took {often}{max(ratios):.1f} times the median of its workflow{why}."

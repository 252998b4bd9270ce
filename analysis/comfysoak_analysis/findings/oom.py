"""OOM: prompts that ran out of GPU memory, how full it was, and what the next prompt paid."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import prompt_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

MOST_STATES = 200  # failures whose GPU state is looked at
MOST_PRICES = 20  # failures whose next success is looked at


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = prompt_rows(run)
    rows = rows[rows["code"] == Code.OOM.value]
    if not rows.empty:
        yield finding(Code.OOM, rows, _words(run, rows, states), states)


def _words(run: Run, rows: pd.DataFrame, states: GpuStates) -> str:
    said = f"{counted(len(rows), 'prompt')} ran out of GPU memory: {mostly(rows['workflow'])}"
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
    good = run.prompts[run.prompts["timed"] & run.prompts["ok"]].sort_values("done_at")
    medians = good.groupby("workflow")["service_s"].median()
    ratios, nexts = [], set()
    for moment, server in rows[["moment", "server"]].head(MOST_PRICES).itertuples(index=False):
        after = good[(good["done_at"] > moment) & (good["server"] == server)].head(1)
        if not after.empty and medians[after["workflow"].iloc[0]] > 0:
            ratios.append(float(after["service_s"].iloc[0] / medians[after["workflow"].iloc[0]]))
            nexts.add(str(after["id"].iloc[0]))
    if not ratios or max(ratios) < 1.5:
        return ""
    often = "" if len(ratios) == 1 else "up to "
    loaded = any(load.place is not None and load.place.prompt_id in nexts for load in states.loads)
    why = ", for loading models again" if loaded else ""
    return f" The next success took {often}{max(ratios):.1f} times the median of its workflow{why}."

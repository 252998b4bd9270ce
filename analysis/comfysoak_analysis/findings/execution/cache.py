"""CACHE_HIT: prompts the server answered from its cache; they did no work and count as no throughput."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding; none for prompts that were meant to be cached, or were sent again as they were."""
    seen = run.notable[~run.notable["work"] & ~run.notable["ok"]]
    rows = seen[seen["attempt"] <= 1]
    if rows.empty:
        return
    every = int((~run.prompts["work"] & ~run.prompts["ok"]).sum())
    count = round(every * len(rows) / len(seen))  # of very many not all are seen
    share = count / max(int(run.prompts["intended"].sum()), 1)
    inputs = rows.groupby("workflow", observed=True)["variation"].nunique().sum()
    words = (
        f"{counted(count, 'prompt')} of {mostly(rows['workflow'])} ({share:.1%} of all) came from the server's cache "
        f"and did no work; they are in no figure. They had {counted(int(inputs), 'set')} of inputs among them: "
        f"{_why(int(inputs), len(rows))}"
    )
    yield finding(Code.CACHE_HIT, rows.assign(moment=rows["done_at"]), words, states, count=count)


def _why(inputs: int, prompts: int) -> str:
    """Inputs that come again are the plan's doing; inputs that do not, and were known all the same, somebody else's."""
    if inputs < prompts or prompts == 1:
        return "inputs come again."
    return "what was varied does not reach the nodes that work, or somebody had sent the same before."

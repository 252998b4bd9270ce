"""CACHE_HIT: prompts the server answered from its cache; they did no work and count as no throughput."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding; none for prompts that were meant to be cached, or were sent again as they were."""
    rows = run.prompts[~run.prompts["work"] & ~run.prompts["ok"] & (run.prompts["attempt"] <= 1)]
    if not rows.empty:
        share = len(rows) / max(int(run.prompts["intended"].sum()), 1)
        words = (
            f"{len(rows):,} prompts ({share:.1%}) came from the server's cache and did no work; they are in no figure."
        )
        yield finding(Code.CACHE_HIT, rows.assign(moment=rows["done_at"]), words, states)

"""GAVE_UP: users who waited no longer, by what the time went on and what became of their prompts."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import between, prompts_in_words
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.late import late
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    rows = told(run, Code.GAVE_UP)
    if rows.count:
        prompts = rows.prompts
        patience = between((prompts["left"].fillna(prompts["moment"]) - prompts["scheduled"]).dt.total_seconds())
        back = int(prompts["cancel_asked"].notna().sum())
        fate = f"{back:,} were taken back, {len(prompts) - back:,} went on for nobody."
        said = f"{prompts_in_words(rows)}: their users left after {patience}. {fate}"
        yield from late(run, states, Code.GAVE_UP, said)

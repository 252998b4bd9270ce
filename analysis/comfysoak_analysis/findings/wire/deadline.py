"""DEADLINE: prompts that did not end in time, by what the time went on."""

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
    rows = told(run, Code.DEADLINE)
    if rows.count:
        allowed = (rows.prompts["deadline"] - rows.prompts["scheduled"]).dt.total_seconds()
        within = between(allowed)
        said = f"{prompts_in_words(rows)} did not end within {within or 'their deadline'}."
        yield from late(run, states, Code.DEADLINE, said)

"""MISTAKE_ACCEPTED: prompts that were to be refused were run."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.MISTAKE_ACCEPTED, _words, caused=False)


def _words(_: Run, rows: Told) -> str:
    """Which mistakes, and how the prompts that carried them ended."""
    prompts = rows.prompts
    mistakes = mostly(prompts["deliberate"])
    carried_words = f", with the mistakes {mistakes}" if mistakes else ""
    told = messages(prompts["error_message"])
    ends = mostly(prompts["outcome"])
    return f"{prompts_in_words(rows)} were to be refused{carried_words}, and ended as {ends}: {told}."

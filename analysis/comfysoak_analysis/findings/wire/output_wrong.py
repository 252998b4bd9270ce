"""OUTPUT_WRONG: files that are not what was asked for."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words, shares
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.OUTPUT_WRONG, _words)


def _words(run: Run, rows: Told) -> str:
    """What was wrong with them, and whether all of a workflow are."""
    prompts = rows.prompts
    problems = prompts["output_problem"].fillna(prompts["error_message"])
    return f"{prompts_in_words(rows)}: {messages(problems) or 'no more was told'}. Hit: {shares(run, rows)}."

"""HISTORY_RACE: /history was empty right after the end of a prompt, and filled when asked again."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, prompts_in_words
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.HISTORY_RACE, _words, caused=False)


def _words(run: Run, rows: Told) -> str:
    share = rows.prompt_count / max(int(run.prompts["intended"].sum()), 1)
    return f"{prompts_in_words(rows)} ({share:.1%} of all) were in /history only when it was asked again."

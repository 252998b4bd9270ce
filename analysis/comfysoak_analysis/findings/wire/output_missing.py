"""OUTPUT_MISSING: prompts that succeeded, and a file they name could not be fetched."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.OUTPUT_MISSING, _words)


def _words(_: Run, rows: Told) -> str:
    """A file that is gone (404), or a server that did not give it."""
    prompts = rows.prompts
    problems = prompts["output_problem"].fillna(prompts["error_message"])
    gone = int(problems.fillna("").str.contains("404", regex=False).sum())
    said = f"{prompts_in_words(rows)}: {messages(problems) or 'no reason was told'}."
    return f"{said} {gone:,} of them were gone (404): deleted, or never written." if gone else said

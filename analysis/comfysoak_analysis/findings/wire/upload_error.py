"""UPLOAD_ERROR: an input picture could not be uploaded, so its prompt was not sent."""

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
    yield from carried(run, states, Code.UPLOAD_ERROR, _words)


def _words(_: Run, rows: Told) -> str:
    return f"{prompts_in_words(rows)}: {messages(rows.prompts['error_message']) or 'no reason was told'}."

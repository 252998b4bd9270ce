"""OUTPUT_DROPPED: the server took a prompt and left out outputs of it that failed validation."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words, shares
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.OUTPUT_DROPPED, _words, caused=False)


def _words(run: Run, rows: Told) -> str:
    """Which outputs, and why."""
    prompts = rows.prompts
    nodes = mostly(prompts["node_class"])
    why = ", ".join(part for part in (mostly(prompts["error_type"]), messages(prompts["error_message"])) if part)
    at = f" at {nodes}" if nodes else ""
    return f"{prompts_in_words(rows)} lost outputs{at}{': ' + why if why else ''}. Hit: {shares(run, rows)}."

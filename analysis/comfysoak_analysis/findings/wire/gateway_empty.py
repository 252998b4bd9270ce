"""GATEWAY_EMPTY: a gateway answered 200 with fewer pictures than were asked for."""

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
    yield from carried(run, states, Code.GATEWAY_EMPTY, _words)


def _words(run: Run, rows: Told) -> str:
    prompts = rows.prompts
    none = int((prompts["outputs_received"].fillna(0) == 0).sum())
    return (
        f"{prompts_in_words(rows)}, {none:,} without any picture: {messages(prompts['error_message'])}. "
        f"Hit: {shares(run, rows)}."
    )

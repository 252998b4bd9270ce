"""NODE_ERROR: a node raised an error."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import carried, messages, prompts_in_words, shares
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

_CUDA = "CUDA error"


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.NODE_ERROR, _words)


def _words(run: Run, rows: Told) -> str:
    """Which exception in which node, what it said, and whether every prompt of the workflow has it."""
    prompts = rows.prompts
    places = (
        prompts["error_type"].fillna("an error without a type").astype(str)
        + " in "
        + (prompts["node_class"].fillna("a node").astype(str) + " (" + prompts["node_id"].fillna("?").astype(str) + ")")
    )
    said = f"{prompts_in_words(rows)}: {mostly(places.map(bounded))}: {messages(prompts['error_message'])}."
    cuda = int(prompts["error_message"].fillna("").str.contains(_CUDA, regex=False).sum())
    return f"{said} Hit: {shares(run, rows)}." + (f" {cuda:,} of them were CUDA errors." if cuda else "")

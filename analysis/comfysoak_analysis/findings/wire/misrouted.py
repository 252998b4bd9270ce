"""LB_MISROUTED: the socket heard nothing of a prompt that another server took."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.carried import between, carried, messages, prompts_in_words
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.LB_MISROUTED, _words)


def _words(run: Run, rows: Told) -> str:
    """How it ended for them, and how large a share that is: of two servers in turn it would be half."""
    prompts = rows.prompts
    share = rows.prompt_count / max(int(run.prompts["intended"].sum()), 1)
    told = messages(prompts["error_message"])
    waited = between((prompts["moment"] - prompts["scheduled"]).dt.total_seconds())
    return (
        f"{prompts_in_words(rows)} ({share:.0%} of all; two servers in turn would give about half) were accepted, and "
        f"{mostly(prompts['server'])} then knew nothing of them; after {waited} they ended as "
        f"{mostly(prompts['outcome'])}{': ' + told if told else ''}."
    )

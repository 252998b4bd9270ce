"""NODE_HANG: a node that neither ends nor lets itself be interrupted. The rule stands in `stuck`."""

from __future__ import annotations

from collections.abc import Iterable

from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.standing import gpu_words, standing
from comfysoak_analysis.findings.stuck import Stuck
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.text import bounded
from comfysoak_core.codes import Code

_UNLESS = "A node with far more to do than ever before in this run (other inputs, a first download) looks the same."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers."""
    yield from standing(run, states, Code.NODE_HANG, _words, _UNLESS)


def _words(_: Run, one: Stuck) -> str:
    """Where it stands, for how long against what is usual, and what the GPU does."""
    node = one.node or "a node of which nothing was told"
    of = f" of {bounded(one.workflow, 60)}" if one.workflow else ""
    usual = f", which took {one.longest_s:.1f} s at most before" if one.longest_s is not None else ""
    return (
        f"prompt {bounded(one.prompt_id or '', 40)}{of}{usual}, ran for {one.lasted_s:.0f} s, last in "
        f"{bounded(node, 80)}; it did not end; {gpu_words(one)}, and {one.waiting_last:,} prompts waited."
    )

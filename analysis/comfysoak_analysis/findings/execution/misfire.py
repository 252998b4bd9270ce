"""INTERRUPT_MISFIRE: prompts that were interrupted though nobody meant them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.carried import carried, prompts_in_words
from comfysoak_analysis.findings.evidence import mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told
from comfysoak_analysis.frames import Run, to_frame
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

NEAR = pd.Timedelta(seconds=5)  # an interrupt of ours so shortly before may have hit it
_LOOKED_AT = 20
_BEFORE_NS = 900 * 10**9  # prompts that were due within so long before may have been taken back then


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    yield from carried(run, states, Code.INTERRUPT_MISFIRE, _words)


def _words(run: Run, rows: Told) -> str:
    """At which node, and whether it was one of the run's own interrupts that hit the wrong prompt."""
    prompts = rows.prompts
    nodes = mostly(prompts["node_class"])
    ours = _ours(run, prompts.sort_values("moment").head(_LOOKED_AT))
    who = (
        f"Within {NEAR.total_seconds():.0f} s before {ours:,} of them this run had asked to interrupt another prompt "
        "of that server: that may have hit them."
        if ours
        else "No request of this run asked for an interrupt then: somebody else did."
    )
    return f"{prompts_in_words(rows)} were interrupted{' in ' + nodes if nodes else ''}. {who}"


def _ours(run: Run, prompts: pd.DataFrame) -> int:
    """How many had an interrupt asked for another prompt of the same server shortly before."""
    ends = [int(moment.value) for moment in prompts["moment"]]
    columns = ("id", "server", "cancel_asked_ns")
    others = to_frame(run.recording.between("prompts", [(end - _BEFORE_NS, end) for end in ends], columns))
    others = others.dropna(subset=["cancel_asked"])
    return sum(
        bool(
            (
                (others["server"] == server)
                & (others["id"] != name)
                & others["cancel_asked"].between(moment - NEAR, moment)
            ).any()
        )
        for name, server, moment in zip(prompts["id"], prompts["server"], prompts["moment"], strict=True)
    )

"""From servers that got nowhere to one finding: what WORKER_DEAD and NODE_HANG share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.stuck import Stuck, Use, stuck
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_TOLD_MOST = 3
_SURE = (Certainty.CERTAIN, Certainty.LIKELY, Certainty.POSSIBLE)


def standing(
    run: Run, states: GpuStates, code: Code, words: Callable[[Run, Stuck], str], unless: str
) -> Iterator[Finding]:
    """At most one finding, as sure as the surest of its cases."""
    found = [one for one in stuck(run, states) if one.code is code]
    if not found:
        return
    rows = pd.DataFrame([(one.prompt_id, one.began, one.server) for one in found], columns=["id", "moment", "server"])
    said = [f"{one.server}: {words(run, one)}" for one in found[:_TOLD_MOST]]
    if len(found) > _TOLD_MOST:
        said.append(f"And {len(found) - _TOLD_MOST:,} more times.")
    certainty = min((one.certainty for one in found), key=_SURE.index)
    unless = "" if certainty is Certainty.CERTAIN else unless
    yield finding(code, rows, " ".join(said), states, certainty=certainty, unless=unless, chart="queue")


def gpu_words(one: Stuck) -> str:
    """What the GPU did meanwhile."""
    if one.use is Use.UNKNOWN or one.use_ratio is None:
        return "what the GPU did is not known"
    return f"the GPU was {one.use.value}, {one.use_ratio:.0%} on average"

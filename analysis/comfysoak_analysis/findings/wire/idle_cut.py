"""WS_IDLE_CUT: sockets that a proxy cut after a time without traffic, or at an age: their lifetimes cluster."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.lifetimes import Cut
from comfysoak_analysis.findings.told import idle_cuts
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_UNLESS = "A server that closes sockets on a schedule of its own looks the same."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    found = idle_cuts(run)
    if found:
        words = " ".join(_words(cut) for cut in found)
        rows = pd.concat([cut.rows for cut in found])
        yield finding(Code.WS_IDLE_CUT, rows, words, states, certainty=Certainty.LIKELY, unless=_UNLESS)


def _words(cut: Cut) -> str:
    what = "without a message for" if cut.measure == "longest_silence_s" else "at an age of"
    values = cut.rows[cut.measure]
    return (
        f"{counted(len(values), 'socket')} to {cut.server} ended {what} {values.min():.1f} s to {values.max():.1f} s."
    )

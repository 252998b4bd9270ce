"""GPU_VANISHED: the driver stopped answering for a GPU with an error that is not its loss."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_BACK = "source_found"
_TOLD = 3


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding: the driver's word, and when each GPU answered again."""
    rows = event_rows(run)
    rows = rows[(rows["code"] == Code.GPU_VANISHED.value) | (rows["kind"] == "gpu_vanished")]
    if not rows.empty:
        parts = list(rows.groupby("subject", dropna=False))
        said = [_words(run, str(uuid), part) for uuid, part in parts[:_TOLD]]
        more = [f"And {counted(len(parts) - _TOLD, 'GPU')} more."] if len(parts) > _TOLD else []
        yield finding(Code.GPU_VANISHED, rows, " ".join([*said, *more]), states, chart="states")


def _words(run: Run, uuid: str, rows: pd.DataFrame) -> str:
    last = rows["moment"].max()
    events = run.events
    back = events[(events["kind"] == _BACK) & (events["subject"] == uuid) & (events["at"] > last)]
    after = "It did not answer again."
    if not back.empty:
        after = f"It answered again {(back['at'].min() - last).total_seconds():,.1f} s after the last."
    return f"{uuid} stopped answering {counted(len(rows), 'time')}: {mostly(rows['detail'])}. {after}"

"""GPU_LOST: Xid 79, or the driver's word that a GPU has fallen off the bus."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import event_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

XID_FALLEN_OFF_THE_BUS = 79


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    events, xids = _told_by_driver(run), _told_by_exporters(run)
    rows = _losses(events, xids)
    if not rows.empty:
        yield finding(Code.GPU_LOST, rows, _words(events, xids), states, chart="states")


def losses(run: Run) -> pd.DataFrame:
    """When (`moment`) which GPU (`id`, its uuid) was told to be lost."""
    return _losses(_told_by_driver(run), _told_by_exporters(run))


def _losses(events: pd.DataFrame, xids: pd.DataFrame) -> pd.DataFrame:
    parts = [rows[["id", "moment", "server"]].astype({"server": "object"}) for rows in (events, xids) if not rows.empty]
    return pd.concat(parts, ignore_index=True) if parts else xids


def _told_by_driver(run: Run) -> pd.DataFrame:
    events = event_rows(run)
    return events[(events["code"] == Code.GPU_LOST.value) | (events["kind"] == "gpu_lost")]


def _told_by_exporters(run: Run) -> pd.DataFrame:
    """When each GPU's last Xid became this one: a counter repeats what it once said."""
    found = []
    for uuid, track in run.tracks("gpu_slow", ("xid",)).items():
        low, high = track["xid"].low, track["xid"].high
        known = np.flatnonzero(np.isfinite(high))
        lost = (low[known] == XID_FALLEN_OFF_THE_BUS) | (high[known] == XID_FALLEN_OFF_THE_BUS)
        begins = known[lost & ~np.concatenate(([False], lost[:-1]))]
        found += [(uuid, run.start + pd.Timedelta(seconds=place * run.coarse.width_s), None) for place in begins]
    return pd.DataFrame(found, columns=["id", "moment", "server"])


def _words(events: pd.DataFrame, xids: pd.DataFrame) -> str:
    said = []
    if not xids.empty:
        said.append(f"Xid {XID_FALLEN_OFF_THE_BUS} on {mostly(xids['id'])}.")
    if not events.empty:
        said.append(f"The driver said so {counted(len(events), 'time')}: {mostly(events['detail'])}.")
    return " ".join(said)

"""WS_ABNORMAL: sockets that ended without a close frame. Many at once mean the server, single ones the network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.carried import messages
from comfysoak_analysis.findings.causes import because
from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.told import Told, told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

TOGETHER = pd.Timedelta(seconds=2)
BURST = 3


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding."""
    found = told(run, Code.WS_ABNORMAL)
    if found.count:
        rows = found.rows.sort_values("moment")
        cause = because(run, states, rows, Code.WS_ABNORMAL)
        words = " ".join(part for part in (_words(run, found), cause) if part)
        yield finding(Code.WS_ABNORMAL, rows, words, states, count=found.count)


def bursts(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """`rows` (of one server, by moment) in groups no more than two seconds from one to the next."""
    apart = rows["moment"].diff() > TOGETHER
    return [part for _, part in rows.groupby(np.cumsum(apart.to_numpy()))]


def _words(run: Run, found: Told) -> str:
    rows = found.sockets.sort_values("moment")
    opened, refused = rows[rows["opened"].notna()], rows[rows["opened"].isna()]
    said = []
    for server, part in opened.groupby("server", observed=True):
        groups = bursts(part)
        large = [group for group in groups if len(group) >= BURST]
        said += [_burst_words(run, str(server), group) for group in large[:3]]
        single = sum(len(group) for group in groups if len(group) < BURST)
        if single:
            said.append(f"{counted(single, 'socket')} to {server} dropped on their own: this points to the network.")
    if not refused.empty:
        said.append(f"{counted(len(refused), 'socket')} could not be opened: {messages(refused['reason'])}.")
    if found.prompt_count:
        said.append(f"{counted(found.prompt_count, 'prompt')} failed with it.")
    return " ".join(said)


def _burst_words(run: Run, server: str, group: pd.DataFrame) -> str:
    first, last = group["moment"].iloc[0], group["moment"].iloc[-1]
    everyone = run.sessions[run.sessions["server"] == server]
    open_then = int(((everyone["opened"] <= first) & (everyone["closed"].isna() | (everyone["closed"] >= first))).sum())
    at, lasted = (first - run.start).total_seconds(), (last - first).total_seconds()
    return (
        f"{len(group):,} of {open_then:,} open sockets to {server} ended within {max(lasted, 0.01):.2g} s, "
        f"{at:.0f} s into the run: this points to the server or a proxy before it."
    )

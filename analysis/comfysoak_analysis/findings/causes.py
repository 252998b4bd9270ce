"""What makes other things go wrong: a server that went away, stands still or tells nobody anything.

A consequence stays a finding where it is a fact of its own (a socket did end, a deadline did pass), and its evidence
names the cause.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.readings import watches
from comfysoak_analysis.findings.stuck import stuck
from comfysoak_analysis.findings.told import event_rows, prompt_rows
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

NEAR = pd.Timedelta(seconds=3)  # a consequence shows so soon
APART = pd.Timedelta(seconds=10)  # refusals further apart are two absences
MOST = 500
_OVER = "head_of_line_over"


@dataclass(frozen=True, slots=True)
class Cause:
    """One of them; `server` is None where it struck all."""

    code: Code
    server: str | None
    began: pd.Timestamp
    ended: pd.Timestamp


def causes(run: Run, states: GpuStates) -> tuple[Cause, ...]:
    """All of a run, the gravest kinds first."""
    return run.once(_causes, states)


def _causes(run: Run, states: GpuStates) -> tuple[Cause, ...]:
    stood = [Cause(one.code, one.server, one.began, one.ended) for one in stuck(run, states)]
    found = [*_told(run), *_absences(run), *stood, *_frozen(run)]
    return tuple(found[:MOST])


def _told(run: Run) -> Iterator[Cause]:
    """Restarts, lost GPUs and silences, by the events of load and probes."""
    events = event_rows(run)
    codes = (Code.SERVER_RESTARTED, Code.CGROUP_OOM, Code.GPU_LOST, Code.WS_HEAD_OF_LINE)
    for code in codes:
        rows = events[events["code"] == code.value]
        for at, server in zip(rows["moment"], rows["server"], strict=True):
            named = None if pd.isna(server) else str(server)
            yield Cause(code, named, at, _over(run, code, named, at))


def _over(run: Run, code: Code, server: str | None, began: pd.Timestamp) -> pd.Timestamp:
    """When a silence was told to be over, else the end of the run; itself for what has no length."""
    if code is not Code.WS_HEAD_OF_LINE:
        return began
    events = run.events
    after = events[(events["kind"] == _OVER) & (events["server"] == server) & (events["at"] >= began)]
    return run.end if after.empty else after["at"].min()


def _absences(run: Run) -> Iterator[Cause]:
    """Stretches in which a server refused connections, by its probe and by prompts."""
    told = prompt_rows(run)
    told = told[told["code"] == Code.SERVER_DOWN.value]
    refused = {server: watch.refused for server, watch in watches(run).items()}
    for server in sorted({*refused, *map(str, told["server"].unique())}):
        by_prompts = told.loc[told["server"] == server, "moment"].to_numpy(dtype="datetime64[ns]")
        by_probe = np.asarray(refused.get(server, []), dtype="int64").astype("datetime64[ns]")
        yield from _spans(Code.SERVER_DOWN, server, np.sort(np.concatenate([by_prompts, by_probe])))


def _frozen(run: Run) -> Iterator[Cause]:
    """Stretches in which a server did not answer HTTP."""
    for server, watch in watches(run).items():
        moments = np.sort(np.asarray(watch.unanswered, dtype="int64")).astype("datetime64[ns]")
        yield from _spans(Code.LOOP_BLOCKED, server, moments)


def _spans(code: Code, server: str, moments: np.ndarray) -> Iterator[Cause]:
    if not len(moments):
        return
    for part in np.split(moments, np.flatnonzero(np.diff(moments) > APART.to_timedelta64()) + 1):
        yield Cause(code, server, pd.Timestamp(part[0]), pd.Timestamp(part[-1]))


def because(run: Run, states: GpuStates, rows: pd.DataFrame, code: Code, since: pd.Series | None = None) -> str:
    """A sentence on the stronger findings that `rows` (`moment`, `server`) of `code` follow from; may be empty.

    `since`: from when each row had been waiting: then it follows from what went on meanwhile, else from what happened
    within seconds of it.
    """
    begun = rows["moment"] if since is None else since
    counted: dict[tuple[Code, str | None], pd.Series] = {}
    explained = pd.Series(data=False, index=rows.index)
    for cause in causes(run, states):
        if cause.code is code:
            continue
        here = True if cause.server is None else rows["server"].astype(object) == cause.server
        hit = (rows["moment"] >= cause.began - NEAR) & (begun <= cause.ended + NEAR) & here & ~explained
        if hit.any():
            key = (cause.code, cause.server)
            counted[key] = counted.get(key, False) | hit
            explained |= hit
    return _sentence(len(rows), counted, within=since is None)


def _sentence(total: int, counted: dict[tuple[Code, str | None], pd.Series], *, within: bool) -> str:
    if not counted:
        return ""
    how = f"within {NEAR.total_seconds():.0f} s of" if within else "during"
    parts = []
    for (other, server), hit in sorted(counted.items(), key=lambda item: -int(item[1].sum()))[:3]:
        number = int(hit.sum())
        who = (
            ("It came" if total == 1 else f"All {total:,} came") if number == total else f"{number:,} of {total:,} came"
        )
        parts.append(f"{who} {how} {other.value}" + (f" of {server}" if server else "") + ".")
    return " ".join(parts)

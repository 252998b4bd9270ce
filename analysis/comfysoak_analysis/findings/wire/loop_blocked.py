"""LOOP_BLOCKED: the server's HTTP stood still: GET /prompt, which asks for next to nothing, took over a second.

A collection of garbage stalls it for up to a second now and then, so it takes three such answers, or one of three
seconds. Readings that our own machine held up do not count, and neither do those while a server settles or starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.cold_starts import were_to_be_away
from comfysoak_analysis.findings.carried import between, messages, prompts_in_words
from comfysoak_analysis.findings.evidence import counted, finding, mostly
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.readings import SLOW_NS, watches
from comfysoak_analysis.findings.told import told
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.scenario.stage import SETTLE

FEWEST = 3  # answers of over a second
LONG_S = 3.0  # one answer that takes so long is enough
UNANSWERED_S = 5.0  # the probe waits no longer
LAGGED_S = 0.5  # our own event loops stood still for so long: nobody can tell who was slow
_LOOKED_AT = 50  # prompts that ran meanwhile
_UNLESS = "The network between the probe and the server, or a proxy, was slow, or the probe's own machine was."
_COLUMNS = ["moment", "server", "took_s", "id"]


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, over all servers."""
    slow = _slow(run)
    rows = told(run, Code.LOOP_BLOCKED)
    parts = [part for _, part in slow.groupby("server") if len(part) >= FEWEST or part["took_s"].max() >= LONG_S]
    if not parts and not rows.count:
        return
    words = [_words(run, part) for part in parts]
    if not rows.prompts.empty:
        words.append(f"{prompts_in_words(rows)}: {messages(rows.prompts['error_message'])}.")
    kept = [part.assign(id=None)[["id", "moment", "server"]] for part in parts]
    every = pd.concat([*kept, *([rows.rows] if rows.count else [])], ignore_index=True)
    yield finding(
        Code.LOOP_BLOCKED, every, " ".join(words), states, certainty=Certainty.LIKELY, unless=_UNLESS, chart="queue"
    )


def _slow(run: Run) -> pd.DataFrame:
    """Readings of all servers that were answered late, or not in time."""
    found = [
        *((at, server, took / NS_PER_S, ran) for server, one in watches(run).items() for at, took, ran in one.slow),
        *((at, server, UNANSWERED_S, None) for server, one in watches(run).items() for at in one.unanswered),
    ]
    rows = pd.DataFrame(found, columns=_COLUMNS)
    rows["moment"] = pd.to_datetime(rows["moment"])
    within = (rows["moment"] >= run.start) & (rows["moment"] <= pd.Timestamp(run.load_end_ns))
    rows = rows[within & ~_is_intended(run, rows["moment"])]
    rows = rows[~were_to_be_away(run, rows)]
    return rows[~_lagged(run, rows)].sort_values("moment")


def _is_intended(run: Run, moments: pd.Series) -> pd.Series:
    """In a settle stage memory is let go, which holds the loop for as long as it takes."""
    inside = pd.Series(data=False, index=moments.index)
    for phase in run.phases:
        if phase.name == SETTLE:
            inside |= moments.between(pd.Timestamp(phase.started_ns), pd.Timestamp(phase.ended_ns))
    return inside


def _lagged(run: Run, rows: pd.DataFrame) -> pd.Series:
    """Whether the load's own loops stood still about then, by the bucket and its neighbours."""
    held_up = pd.Series(data=False, index=rows.index)
    if rows.empty:
        return held_up
    index = run.coarse.index(np.maximum(run.since_start_s(rows["moment"]), 0.0))
    for columns in run.tracks("generator", ("lag_max_s",), by="worker").values():
        lag = columns["lag_max_s"].high
        reach = max(round(1.0 / run.coarse.width_s), 1)  # a row tells of the second before it
        near = [lag[np.clip(index + step, 0, len(lag) - 1)] for step in (0, reach)]
        held_up |= np.nan_to_num(np.maximum(*near), nan=0.0) > LAGGED_S
    return held_up


def _words(run: Run, rows: pd.DataFrame) -> str:
    """How many of how many, how slow, and what ran meanwhile."""
    server = str(rows["server"].iloc[0])
    watch = watches(run)[server]
    answered = rows[rows["took_s"] != UNANSWERED_S]
    mute = len(rows) - len(answered)
    parts = []
    if not answered.empty:
        took = f"{counted(len(answered), 'answer')} to GET /prompt took over {SLOW_NS / NS_PER_S:.0f} s"
        parts.append(f"{took}, up to {answered['took_s'].max():.1f} s")
    if mute:
        parts.append(f"{counted(mute, 'time')} none came within {UNANSWERED_S:.0f} s: the server stood still")
    ran = list(dict.fromkeys(str(one) for one in rows["id"].dropna()))[:_LOOKED_AT]
    workflows = mostly(run.prompts_named(ran)["workflow"]) if ran else ""
    spans = [between(part) for part in _seconds(run, rows)]
    while_ran = f"; then ran {workflows}" if workflows else ""
    return (
        f"{server}: of {watch.readings:,} readings {' and '.join(parts)} ({', '.join(spans)} into the run){while_ran}."
    )


def _seconds(run: Run, rows: pd.DataFrame) -> Iterator[pd.Series]:
    """Seconds into the run of each group of readings no further than ten seconds apart; the first three."""
    seconds = pd.Series(run.since_start_s(rows["moment"]))
    groups = (seconds.diff() > 10.0).cumsum()
    for number, part in seconds.groupby(groups):
        if int(number) < 3:
            yield part.round()

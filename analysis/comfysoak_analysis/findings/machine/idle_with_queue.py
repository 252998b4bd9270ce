"""IDLE_WITH_QUEUE: prompts waited and the GPU did nothing for long, and what kept it waiting as far as that shows.

Short pauses between nodes and prompts are in every run. Stretches of two seconds and more count where they are a fifth
of the time in which something was queued, long ones also where they are less; warm-up, settling and cold starts do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import counted, finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.whose import gpus, gpus_of
from comfysoak_analysis.findings.windows import centres_s, held
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.prompts import NOT_MEASURED_PHASES
from comfysoak_analysis.watched_gpus import watched_gpus
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome

IDLE = 0.05  # utilisation
LEAST_S = 30.0  # in all
SHORT_S, SHORT_SHARE = 2.0, 0.2  # stretches of that length, as a share of the time in which something was queued
LONG_S, LONG_SHARE = 10.0, 0.05
STUCK_S = 60.0  # from one prompt that the server ended to the next
_ENDED = (
    Outcome.SUCCESS.value,
    Outcome.CACHED.value,
    Outcome.FAILED.value,
    Outcome.OOM.value,
    Outcome.INTERRUPTED.value,
)
_UNLESS = "Its nodes work so long on the CPU, or wait for something else, because they are meant to."


@dataclass(frozen=True, slots=True)
class Idle:
    """One server with its stretches (from, to, in seconds after the start), and what they were spent on."""

    server: str
    stretches: tuple[tuple[float, float], ...]
    queued_s: float
    loading_s: float
    stuck_s: float

    @property
    def idle_s(self) -> float:
        """All stretches together."""
        return sum(end - begin for begin, end in self.stretches)


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the server that wasted most first."""
    found = sorted(_all(run, states), key=lambda one: -one.idle_s)
    if not found:
        return
    rows = [
        (one.server, run.start + pd.Timedelta(seconds=begin), one.server) for one in found for begin, _ in one.stretches
    ]
    sure = all(gpus_of(run, one.server) for one in found)
    yield finding(
        Code.IDLE_WITH_QUEUE, pd.DataFrame(rows, columns=["id", "moment", "server"]),
        " ".join(map(_words, found[:3])), states, chart="utilisation",
        certainty=Certainty.LIKELY if sure else Certainty.POSSIBLE,
        unless=_UNLESS if sure else "None of the GPUs that were watched is that server's.",
    )  # fmt: skip


def _all(run: Run, states: GpuStates) -> Iterator[Idle]:
    tracks = run.tracks("server", ("queue_pending",), by="server")
    grid = run.fine
    use = {uuid: gpu.fine for uuid, gpu in watched_gpus(run).items()}
    counts, there = _counts(run), run.coarse.index(centres_s(grid))
    for server, track in tracks.items():
        uuids = [uuid for uuid in gpus_of(run, server) or [gpu.uuid for gpu in gpus(run)] if uuid in use]
        if not uuids:
            continue
        with np.errstate(invalid="ignore"):  # where nothing is known it neither waits nor is idle
            queued = ((held(track["queue_pending"].low, run.coarse.width_s) >= 1) & counts)[there]
            idle = queued.copy()
            for uuid in uuids:
                idle &= held(use[uuid].utilisation(), grid.width_s) < IDLE
        queued_s = float(queued.sum()) * grid.width_s
        stretches = _telling(tuple(_stretches(idle, grid.width_s)), queued_s)
        if stretches:
            yield Idle(server, stretches, queued_s, *_spent(run, states, server, stretches))


def _telling(stretches: tuple[tuple[float, float], ...], queued_s: float) -> tuple[tuple[float, float], ...]:
    """All that last two seconds or more, where they are much of the time; else the long ones, where those are."""
    for least_s, share in ((SHORT_S, SHORT_SHARE), (LONG_S, LONG_SHARE)):
        chosen = tuple(one for one in stretches if one[1] - one[0] >= least_s)
        if sum(end - begin for begin, end in chosen) >= max(LEAST_S, share * queued_s):
            return chosen
    return ()


def _counts(run: Run) -> np.ndarray:
    """Where there was load to be measured."""
    at_s = centres_s(run.coarse)
    counts = np.ones(run.coarse.count, dtype=bool)
    for phase in run.phases:
        if phase.name in NOT_MEASURED_PHASES:
            begin_s, end_s = ((edge - (run.start_ns or 0)) / NS_PER_S for edge in (phase.started_ns, phase.ended_ns))
            counts &= (at_s < begin_s) | (at_s >= end_s)
    return counts


def _stretches(where: np.ndarray, width_s: float) -> Iterator[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], where, [False])).astype(np.int8)))
    for first, last in edges.reshape(-1, 2):
        yield float(first) * width_s, float(last) * width_s


def _spent(run: Run, states: GpuStates, server: str, stretches: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    """Of all stretches, how long models were loading, and how long nothing ended."""
    loads = [load for load in states.loads if load.server == server and load.lasted_s is not None]
    begins = run.since_start_s(pd.Series([load.started for load in loads], dtype="datetime64[ns]"))
    begins = begins - np.array([load.read_s or 0.0 for load in loads])
    ends = run.since_start_s(pd.Series([load.known_until for load in loads], dtype="datetime64[ns]"))
    done = _done_s(run, server)
    loading_s = stuck_s = 0.0
    for begin, end in stretches:
        overlap = float(np.clip(np.minimum(ends, end) - np.maximum(begins, begin), 0.0, None).sum())
        loading_s += min(overlap, end - begin)
        before, after = np.searchsorted(done, [begin, end])
        since = done[before - 1] if before else begin
        until = done[after] if after < done.size else np.inf
        if before == after and until - since >= STUCK_S and overlap < (end - begin) / 2:
            stuck_s += end - begin
    return loading_s, stuck_s


def _done_s(run: Run, server: str) -> np.ndarray:
    """When prompts ended that the server worked on, in order; a deadline that passes is no work."""
    rows = run.prompts
    ended = (rows["server"] == server).to_numpy() & rows["outcome"].isin(_ENDED).to_numpy()
    done = rows["done_at"].to_numpy()[ended]
    return np.sort((done[~np.isnat(done)] - run.start.to_datetime64()) / np.timedelta64(1, "s"))


def _words(one: Idle) -> str:
    said = (
        f"{one.server}: its GPU was idle for {one.idle_s:,.0f} s of {one.queued_s:,.0f} s in which prompts waited, in "
        f"{counted(len(one.stretches), 'stretch')}, first {one.stretches[0][0]:,.0f} s into the run."
    ).replace("stretchs", "stretches")
    rest_s = one.idle_s - one.loading_s - one.stuck_s
    spent = (
        (one.loading_s, "models were loading"),
        (one.stuck_s, "no prompt ended (a stuck worker or node)"),
        (rest_s, "prompts went on without the GPU (nodes that work on the CPU, or wait)"),
    )
    parts = [f"for {seconds:,.0f} s {what}" for seconds, what in spent if seconds >= 1]
    return f"{said} Of that, {', '.join(parts)}."

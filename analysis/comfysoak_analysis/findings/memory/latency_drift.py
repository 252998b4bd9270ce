"""LATENCY_DRIFT: the same workflow on the same server becomes slower and slower, with load and models the same.

It looks at service times, so a queue that grows is none; each workflow for itself, so a shift of the mix is none; at
the same level of load, and apart for prompts that loaded a model. Where clocks were held down, that is the cause and
THROTTLED says so.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import HOUR_S
from comfysoak_analysis.findings.machine.throttled import slowed
from comfysoak_analysis.findings.rising import Rise, rises
from comfysoak_analysis.findings.service_courses import courses
from comfysoak_analysis.findings.services import Services, services
from comfysoak_analysis.findings.whose import gpus
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

LEAST = 0.10  # slower at the end than at the start
TOLD = 3
_UNLESS = "Inputs of this workflow grew (size, steps, frames), or others used the same GPU or host more and more."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, that which slowed down most first."""
    all_of = services(run, states)
    held_down = _held_down(run, all_of.servers)
    tested = [series for _, _, series in courses(run, states)]
    found = [one for one in rises(tested, float(np.log1p(LEAST))) if _server(one) not in held_down]
    if found:
        rows = [
            (one.series.subject, run.start + pd.Timedelta(seconds=at_s), _server(one))
            for one in found for at_s in (one.began_s, one.ended_s)
        ]  # fmt: skip
        more = f" And {len(found) - TOLD:,} more." if len(found) > TOLD else ""
        yield finding(
            Code.LATENCY_DRIFT, pd.DataFrame(rows, columns=["id", "moment", "server"]),
            " ".join(_words(one, all_of) for one in found[:TOLD]) + more, states, count=len(found),
            certainty=Certainty.LIKELY, unless=_UNLESS, chart="service",
        )  # fmt: skip


def _held_down(run: Run, servers: Iterable[str]) -> set[str]:
    """The servers whose GPUs were throttled; all, where it is not known whose GPU that was."""
    slow = {one.uuid for one in slowed(run)}
    if any(gpu.uuid in slow and not gpu.servers for gpu in gpus(run)):
        return set(servers)
    return {server for gpu in gpus(run) if gpu.uuid in slow for server in gpu.servers}


def _server(one: Rise) -> str:
    return one.series.subject.rpartition(" on ")[2]


def _words(one: Rise, all_of: Services) -> str:
    hours = (one.ended_s - one.began_s) / HOUR_S
    slower, low, high = (
        np.expm1(slope * (one.ended_s - one.began_s))
        for slope in (one.trend.slope_per_s, one.trend.low_per_s, one.trend.high_per_s)
    )
    name, _, server = one.series.subject.rpartition(" on ")
    mine = (all_of.server == all_of.servers.index(server)) & (all_of.workflow == all_of.workflows.index(name))
    began = float(np.exp(np.median(all_of.log_s[mine][: max(int(mine.sum()) // 10, 1)])))
    return (
        f"{one.series.subject}: service times rose by {slower:.0%} (95 %: {low:.0%} to {high:.0%}) over "
        f"{hours:,.3g} h, from {began:.3g} s, at the same load and with the same models ({int(mine.sum()):,} prompts)."
    )

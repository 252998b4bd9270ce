"""LATENCY_DRIFT: the same workflow on the same server becomes slower and slower, with load and models the same.

It looks at service times, so a queue that grows is none; each workflow for itself, so a shift of the mix is none; at
the same level of load, and apart for prompts that loaded a model. Where clocks were held down, that is the cause and
THROTTLED says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import HOUR_S
from comfysoak_analysis.findings.machine.throttled import slowed
from comfysoak_analysis.findings.rising import Rise, Series, rises
from comfysoak_analysis.findings.services import Services, services
from comfysoak_analysis.findings.whose import gpus
from comfysoak_analysis.findings.windows import load_levels
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

LEAST = 0.10  # slower at the end than at the start
FEWEST_PROMPTS = 60  # of one workflow on one server
A_WINDOW, WINDOWS = 6, 200  # prompts
TOLD = 3
_UNLESS = "Inputs of this workflow grew (size, steps, frames), or others used the same GPU or host more and more."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, that which slowed down most first."""
    all_of = services(run, states)
    held_down = _held_down(run, all_of.servers)
    tested = dict(_series(run, all_of))
    found = [one for one in rises(list(tested.values()), float(np.log1p(LEAST))) if _server(one) not in held_down]
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


def _series(run: Run, all_of: Services) -> Iterator[tuple[str, Series]]:
    levels = load_levels(run)[run.coarse.index(np.maximum(all_of.at_s, 0.0))]
    keys = all_of.server.astype(np.int64) * max(len(all_of.workflows), 1) + all_of.workflow
    order = np.argsort(keys, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if mine.size < FEWEST_PROMPTS:
            continue
        server, workflow = all_of.server[mine[0]], all_of.workflow[mine[0]]
        subject = f"{all_of.workflows[workflow]} on {all_of.servers[server]}"
        yield subject, _windows(subject, all_of.at_s[mine], all_of.log_s[mine], all_of.is_cold[mine], levels[mine])


def _windows(subject: str, at_s: np.ndarray, log_s: np.ndarray, cold: np.ndarray, level: np.ndarray) -> Series:
    """The median of each window, apart for cold and warm and for the level of load."""
    count = min(at_s.size // A_WINDOW, WINDOWS)
    since = at_s - at_s.min()
    window = np.minimum((since * count / max(float(since.max()), 1e-9)).astype(np.int64), count - 1)
    order = np.lexsort((level, cold, window))
    labels = np.stack([window, cold, level], axis=1)[order]
    firsts = np.concatenate([[0], np.flatnonzero((np.diff(labels, axis=0) != 0).any(axis=1)) + 1])
    group = np.repeat(np.arange(firsts.size), np.diff(np.append(firsts, order.size)))
    at, logs = (_medians(values[order].astype(float), group, firsts) for values in (at_s, log_s))
    return Series(subject, at, logs, [(bool(cold), int(level)) for _, cold, level in labels[firsts].tolist()])


def _medians(values: np.ndarray, group: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """The median of each group; `group` is in order, each beginning at one of `firsts`."""
    ordered = values[np.lexsort((values, group))]
    sizes = np.diff(np.append(firsts, values.size))
    return np.asarray((ordered[firsts + (sizes - 1) // 2] + ordered[firsts + sizes // 2]) / 2)


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

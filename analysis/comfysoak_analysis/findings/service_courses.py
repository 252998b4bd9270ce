"""How the service time of each workflow on each server went over the run: same load with same load, warm with warm."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from comfysoak_analysis.findings.rising import Series
from comfysoak_analysis.findings.services import services
from comfysoak_analysis.findings.windows import load_levels
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates

FEWEST_PROMPTS = 60  # of one workflow on one server
A_WINDOW, WINDOWS = 6, 200  # prompts

Course = tuple[str, str, Series]


def courses(run: Run, states: GpuStates) -> tuple[Course, ...]:
    """Workflow, server and the logarithm of its service time there, of those with `FEWEST_PROMPTS` or more.

    Medians of windows in order of time; strata keep cold and warm prompts apart, and levels of load.
    """
    return run.once(_all_courses, states)


def _all_courses(run: Run, states: GpuStates) -> tuple[Course, ...]:
    return tuple(_courses(run, states))


def _courses(run: Run, states: GpuStates) -> Iterator[Course]:
    all_of = services(run, states)
    levels = load_levels(run)[run.coarse.index(np.maximum(all_of.at_s, 0.0))]
    keys = all_of.server.astype(np.int64) * max(len(all_of.workflows), 1) + all_of.workflow
    order = np.argsort(keys, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if mine.size < FEWEST_PROMPTS:
            continue
        server, workflow = all_of.servers[all_of.server[mine[0]]], all_of.workflows[all_of.workflow[mine[0]]]
        subject = f"{workflow} on {server}"
        yield (
            workflow,
            server,
            _windows(subject, all_of.at_s[mine], all_of.log_s[mine], all_of.is_cold[mine], levels[mine]),
        )


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

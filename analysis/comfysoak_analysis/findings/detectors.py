"""From a run to its findings: each detector looks for what it knows, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from comfysoak_analysis.findings import (
    cache,
    cgroup_oom,
    cold_start,
    corrupt,
    degraded,
    drops,
    foreign,
    gpu_lost,
    head_of_line,
    idle_cut,
    oom,
    poisoned,
    restarts,
    thrash,
    told,
    zombies,
)
from comfysoak_analysis.findings.accepting import with_acceptance
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code, Severity

Detector = Callable[[Run, GpuStates], Iterable[Finding]]

# The first to speak of a code is believed: `told`, which only counts what rows say, comes last.
DETECTORS: tuple[Detector, ...] = (
    oom.find,
    idle_cut.find,
    drops.find,
    zombies.find,
    head_of_line.find,
    restarts.find,
    cold_start.find,
    gpu_lost.find,
    cgroup_oom.find,
    poisoned.find,
    thrash.find,
    degraded.find,
    foreign.find,
    cache.find,
    corrupt.find,
    told.find,
)
_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def find_all(run: Run, states: GpuStates) -> tuple[Finding, ...]:
    """One finding a code, the gravest and earliest first."""
    found: dict[Code, Finding] = {}
    for detector in DETECTORS:
        for finding in detector(run, states):
            found.setdefault(finding.code, finding)
    in_order = sorted(found.values(), key=lambda finding: (_ORDER[finding.severity], finding.first_ns))
    return with_acceptance(run, in_order)

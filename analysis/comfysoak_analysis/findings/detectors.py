"""From a run to its findings: each detector looks for what it knows, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from comfysoak_analysis.findings.accepting import with_acceptance
from comfysoak_analysis.findings.execution import (
    cache,
    misfire,
    node_error,
    node_hang,
    vanished,
    worker_dead,
)
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.findings.machine import (
    cgroup_oom,
    cold_start,
    disk_fill,
    down,
    foreign,
    gpu_lost,
    gpu_vanished,
    idle_with_queue,
    poisoned,
    restarts,
    straggler,
    throttled,
)
from comfysoak_analysis.findings.memory import (
    degraded,
    history_bloat,
    latency_drift,
    oom,
    oom_sticky,
    ram_leak,
    thrash,
    vram_leak,
)
from comfysoak_analysis.findings.wire import (
    bad_message,
    corrupt,
    deadline,
    drops,
    gateway_empty,
    gateway_hang,
    gave_up,
    head_of_line,
    history_race,
    idle_cut,
    loop_blocked,
    lost_terminal,
    misrouted,
    mistake_accepted,
    output_dropped,
    output_missing,
    output_wrong,
    submit_error,
    too_big,
    upload_error,
    validation_rejected,
    zombies,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code, Severity

Detector = Callable[[Run, GpuStates], Iterable[Finding]]

DETECTORS: tuple[Detector, ...] = (
    # wire
    zombies.find,
    head_of_line.find,
    idle_cut.find,
    too_big.find,
    drops.find,
    lost_terminal.find,
    history_race.find,
    loop_blocked.find,
    misrouted.find,
    validation_rejected.find,
    mistake_accepted.find,
    output_dropped.find,
    submit_error.find,
    upload_error.find,
    bad_message.find,
    output_missing.find,
    output_wrong.find,
    corrupt.find,
    deadline.find,
    gave_up.find,
    gateway_empty.find,
    gateway_hang.find,
    # execution
    worker_dead.find,
    node_hang.find,
    misfire.find,
    cache.find,
    vanished.find,
    node_error.find,
    # memory
    oom.find,
    oom_sticky.find,
    vram_leak.find,
    ram_leak.find,
    history_bloat.find,
    thrash.find,
    latency_drift.find,
    degraded.find,
    # machine
    poisoned.find,
    gpu_lost.find,
    gpu_vanished.find,
    cgroup_oom.find,
    foreign.find,
    idle_with_queue.find,
    straggler.find,
    throttled.find,
    disk_fill.find,
    restarts.find,
    down.find,
    cold_start.find,
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

"""Whether the machines were fit to be measured: theirs alone, with room on the disk, and not held back.

A run on a GPU that others used says what is left over for us, one under a hypervisor that took its processors away
says little of anything. None of it is the target's doing, so it is a doubt and no finding's weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.figures.gpu_states import KINDS
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import gpus
from comfysoak_analysis.statistics.series import Floats
from comfysoak_analysis.text import bounded
from comfysoak_analysis.verdict import Doubt, Weight
from comfysoak_core.codes import Code
from comfysoak_core.scenario.quantities import format_size

FOREIGN_SHARE = 0.1  # of a GPU's memory: a desktop takes less
HELD_BACK_SHARE = 0.05  # of the time under load
DISK_LEAST_BYTES = 1024**3
MEMORY_LEAST_SHARE = 0.03
SWAPPED_OUT_BYTES = 256 * 1024**2
STEAL_SHARE = 0.05
CPU_SHARE = 0.95
_HOLDING = ("heat", "hardware")  # a power limit holds back every card at full load: that is how it is sold
_HOST = ("cpu_ratio", "steal_ratio", "memory_total_bytes", "memory_available_bytes", "swapped_out_bytes",
         "disk_free_bytes")  # fmt: skip


def unfit_machines(run: Run, findings: Sequence[Finding]) -> Iterator[Doubt]:
    """What was wrong with GPUs and hosts before and during the run."""
    yield from _foreign(run, findings)
    yield from _held_back(run)
    for host, columns in run.tracks("host", _HOST, by="host").items():
        yield from _host(bounded(host, 60), columns)


def _foreign(run: Run, findings: Sequence[Finding]) -> Iterator[Doubt]:
    """Others on the GPU; a lot of it makes the run say nothing about a GPU of its own."""
    found = next((one for one in findings if one.code is Code.GPU_FOREIGN and one.accepted is None), None)
    if found is None:
        return
    share = max((_foreign_share(run, uuid, one) for uuid, one in _foreign_bytes(run).items()), default=math.nan)
    weight = Weight.INVALID if share > FOREIGN_SHARE else Weight.CAUTION
    much = f", up to {share:.0%} of its memory" if share > 0 else ""
    yield Doubt(
        "GPU shared",
        weight,
        f"Others used a GPU that was measured{much}. {found.evidence}",
        "End them, or name another GPU; accept the finding GPU_FOREIGN in the scenario where it must be so.",
    )


def _foreign_bytes(run: Run) -> Mapping[str, Buckets]:
    return {uuid: one["foreign_bytes"] for uuid, one in run.tracks("gpu_health", ("foreign_bytes",)).items()}


def _foreign_share(run: Run, uuid: str, foreign: Buckets) -> float:
    whole = next((gpu.memory_total_bytes for gpu in gpus(run) if gpu.uuid == uuid), math.nan)
    most = _extreme(foreign.high, np.max)
    return most / whole if whole > 0 else math.nan


def _held_back(run: Run) -> Iterator[Doubt]:
    """Clocks lowered by heat or by the board for a good part of the run."""
    names = {reason for kind in KINDS if kind.name in _HOLDING for reason in kind.reasons}
    held = {}
    for uuid, flags in run.flags("gpu_slow", "event_reasons").items():
        set_at = [track.mean[~np.isnan(track.mean)] for name, track in flags.items() if name in names]
        share = float(np.max(set_at, axis=0).mean()) if set_at and set_at[0].size else 0.0
        if share > HELD_BACK_SHARE:
            held[uuid] = share
    if held:
        many = "a GPU was" if len(held) == 1 else f"{len(held):,} GPUs were"
        yield Doubt(
            "GPU held back",
            Weight.CAUTION,
            f"For up to {max(held.values()):.0%} of the run {many} slowed down by heat or by the board: these are the "
            "figures of a machine that is too hot, or too weakly fed.",
            "See to cooling and power, or say so beside the figures.",
        )


def _host(host: str, columns: Mapping[str, Buckets]) -> Iterator[Doubt]:
    free = _extreme(columns["disk_free_bytes"].low, np.min)
    if free < DISK_LEAST_BYTES:
        yield Doubt(
            "disk full",
            Weight.CAUTION,
            f"Only {format_size(free)} were left on the disk of {host}.",
            "Free space; a full disk ends the recording, and the server's outputs.",
        )
    available = columns["memory_available_bytes"].low / columns["memory_total_bytes"].high
    swapped = columns["swapped_out_bytes"]
    written = _extreme(swapped.high, np.max) - _extreme(swapped.low, np.min)
    if _extreme(available, np.min) < MEMORY_LEAST_SHARE and written > SWAPPED_OUT_BYTES:
        yield Doubt(
            "memory full",
            Weight.CAUTION,
            f"{host} ran out of memory: {format_size(written)} were moved to its swap during the run.",
            "More memory, fewer models kept in it, or a machine of its own for the harness.",
        )
    steal = _extreme(columns["steal_ratio"].mean, np.mean)
    if steal > STEAL_SHARE:
        yield Doubt(
            "processor stolen",
            Weight.CAUTION,
            f"The hypervisor gave {steal:.0%} of the processors of {host} to others.",
            "A host of its own, or an instance type whose processors are not shared.",
        )
    busy = _extreme(columns["cpu_ratio"].mean, np.mean)
    if busy > CPU_SHARE:
        yield Doubt(
            "processor full",
            Weight.CAUTION,
            f"The processors of {host} were busy {busy:.0%} of the time: what is measured is how they are shared.",
            "Move the harness to a machine of its own, or give the server more of them.",
        )


def _extreme(values: Floats, of: Callable[[Floats], Any]) -> float:
    """`of` the values that are there; NaN, which compares false, where none is."""
    known = values[~np.isnan(values)]
    return float(of(known)) if known.size else math.nan

"""VRAM_LEAK: GPU memory that rises and rises, after each settle, or at its low points with the same models loaded.

Full memory is no leak: allocators keep what they have, dynamic VRAM fills what is free. What counts is that the level
goes on rising to the end, like compared with like: after each settle where the scenario has them, else within the same
set of loaded models, the same level of load and the same start of the server.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from comfysoak_analysis.buckets import Buckets
from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import (
    SUBJECTS_TOLD,
    hours_left,
    lately,
    leak_rows,
    leak_words,
    least_bytes,
    others_words,
    settled_series,
)
from comfysoak_analysis.findings.rising import Rise, Series, rises
from comfysoak_analysis.findings.whose import OwnedGpu, gpus
from comfysoak_analysis.findings.windows import (
    load_levels,
    loaded_labels,
    low_points,
    settled_lows,
    starts_label,
    together,
)
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_core.codes import Code

_USED, _TOTAL = "memory_used_bytes", "memory_total_bytes"
_UNLESS = "An allocator or a cache is still filling up that will stop later; `settle` stages would tell."
_UNLESS_UNKNOWN = (
    "Other models came to be loaded: what was loaded on this GPU is not known; `settle` stages would tell."
)
_UNLESS_SETTLED = "Something else on the GPU grew meanwhile."


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the worst GPU first."""
    tested, settled = tested_series(run, states)
    found = rises(tested, least_bytes(run))
    if not found:
        return
    tracks, owned = run.tracks("gpu", (_USED, _TOTAL)), {gpu.uuid: gpu for gpu in gpus(run)}
    used = {uuid: track[_USED] for uuid, track in tracks.items()}
    said = [_words(rise, tracks[rise.series.subject][_TOTAL], used, settled=settled) for rise in found]
    sure = _models_known(states, owned.get(found[0].series.subject))
    certainty = Certainty.LIKELY if settled or sure else Certainty.POSSIBLE
    unless = _UNLESS_SETTLED if settled else _UNLESS if sure else _UNLESS_UNKNOWN
    servers = [_server(owned.get(rise.series.subject)) for rise in found]
    yield finding(
        Code.VRAM_LEAK, leak_rows(run, found, servers), " ".join(said[:SUBJECTS_TOLD]) + others_words(found, "GPU"),
        states, count=len(found), certainty=certainty, unless=unless, chart="vram",
    )  # fmt: skip


def tested_series(run: Run, states: GpuStates) -> tuple[list[Series], bool]:
    """The memory of each GPU as it is tested, by its uuid; and whether that is what was left after settles."""
    used = {uuid: track[_USED] for uuid, track in run.tracks("gpu", (_USED, _TOTAL)).items()}
    settled = [one for uuid, track in used.items() if (one := settled_series(run, uuid, track)) is not None]
    if settled:
        return settled, True
    owned = {gpu.uuid: gpu for gpu in gpus(run)}
    return [_running(run, states, owned.get(uuid), uuid, track) for uuid, track in used.items()], False


def _running(run: Run, states: GpuStates, gpu: OwnedGpu | None, uuid: str, track: Buckets) -> Series:
    """The low points, apart for what was loaded, for the load, and for each start of the server."""
    labels, lows = [load_levels(run)], track.low
    for server in gpu.servers if gpu is not None else ():
        labels.append(starts_label(run, server, track.grid))
        models = loaded_labels(run, states, server, track.grid)
        if models is not None:
            labels.append(models)
            lows = settled_lows(lows, models)
    return low_points(uuid, track.grid, lows, together(*labels))


def _models_known(states: GpuStates, gpu: OwnedGpu | None) -> bool:
    return gpu is not None and bool(gpu.servers) and all(states.held(server) is not None for server in gpu.servers)


def _words(rise: Rise, total: Buckets, used: dict[str, Buckets], *, settled: bool) -> str:
    track = used[rise.series.subject]
    by = f"by the memory left after each of {rise.series.values.size:,} settles"
    if not settled:
        by = "by its low points, compared only with the same models loaded and at the same load"
    whole = float(np.nanmax(total.high)) if np.isfinite(total.high).any() else float("nan")
    room = whole - float(np.max(lately(track.high)))
    return leak_words(rise, by, hours_left(rise, room), "the end of its memory")


def _server(gpu: OwnedGpu | None) -> str | None:
    return gpu.servers[0] if gpu is not None and len(gpu.servers) == 1 else None

"""What came out for what went in: prompts by GPU-hour and by kilowatt-hour, and GPUs that idled beside a queue."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.frames import Run
from comfysoak_analysis.measures import first_places, gpus, measured_edges, measured_s
from comfysoak_analysis.server_hosts import gpus_beside
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.rows import Outcome

IN_USE = 0.01  # of the time under load: a GPU that was busy less than that was there, and not used
JOULES_PER_KWH = 3.6e6
SHORTEST_KWH_S = 10.0  # energy counters are read once a second


@dataclass(frozen=True, slots=True)
class Efficiency:
    """NaN where it cannot be told."""

    prompts: int  # that did their work and succeeded
    gpus: int  # in use; servers, where no GPU was watched
    gpu_hours: float
    energy_kwh: float  # of the GPUs in use, while prompts were measured
    power_mean_watts: float

    @property
    def per_gpu_hour(self) -> float:
        """Prompts by hour and GPU."""
        return self.prompts / self.gpu_hours if self.gpu_hours > 0 else math.nan

    @property
    def per_kwh(self) -> float:
        """Prompts by kilowatt-hour of the GPUs."""
        return self.prompts / self.energy_kwh if self.energy_kwh > 0 else math.nan


def efficiency(run: Run, servers: Collection[str] | None = None) -> Efficiency:
    """Of all servers, or of these with the GPUs of their hosts."""
    prompts = run.prompts
    chosen = prompts["measured"] & (prompts["server"].isin(list(servers)) if servers is not None else True)
    done = int((chosen & prompts["work"] & prompts["ok"] & (prompts["outcome"] == Outcome.SUCCESS.value)).sum())
    lasted_s, used = measured_s(prompts, chosen.to_numpy(dtype=bool)), gpus_in_use(run, servers)
    watts = _power_watts(run, used_uuids(run, servers))
    kwh = watts * lasted_s / JOULES_PER_KWH if lasted_s >= SHORTEST_KWH_S else math.nan
    return Efficiency(done, used, used * lasted_s / 3600, kwh, watts)


def gpus_in_use(run: Run, servers: Collection[str] | None = None) -> int:
    """How many GPUs worked; how many servers did, where no GPU was watched."""
    used = used_uuids(run, servers)
    if used:
        return len(used)
    ran = first_places(run.prompts["server"].array, run.prompts["measured"].to_numpy(dtype=bool)).keys()
    return len(ran if servers is None else ran & set(servers))


def used_uuids(run: Run, servers: Collection[str] | None = None) -> tuple[str, ...]:
    """Watched GPUs that were busy under load; all watched ones where none tells how busy it was."""
    watched = [gpu for gpu in gpus(run) if servers is None or gpu.uuid in _beside(run, servers)]
    told = [gpu for gpu in watched if not math.isnan(gpu.utilisation_mean)]
    return tuple(gpu.uuid for gpu in watched if not told or gpu.utilisation_mean > IN_USE)


def _beside(run: Run, servers: Collection[str]) -> set[str]:
    return {str(uuid) for server in servers for uuid in gpus_beside(run, server)["uuid"].unique()}


def _power_watts(run: Run, uuids: Collection[str]) -> float:
    """Mean power of these GPUs together while prompts were measured: by their energy counters, else by power read."""
    tracks = run.tracks("gpu_slow", ("energy_joules", "power_watts"))
    window = _measured_window(run, run.coarse)
    parts = [_mean_watts(tracks[uuid]["energy_joules"], tracks[uuid]["power_watts"], window) for uuid in uuids
             if uuid in tracks]  # fmt: skip
    return sum(parts) if parts and len(parts) == len(uuids) else math.nan


def _mean_watts(energy: Buckets, power: Buckets, window: slice) -> float:
    grown, seconds = _grown(energy.mean[window], energy.grid.width_s)
    if seconds >= SHORTEST_KWH_S:
        return grown / seconds
    read = power.mean[window]
    return float(np.nanmean(read)) if not np.isnan(read).all() else math.nan


def _grown(counter: Floats, width_s: float) -> tuple[float, float]:
    """By how much a counter grew and in how many seconds, less the steps at which it began anew."""
    at = np.flatnonzero(~np.isnan(counter))
    steps, lasted = np.diff(counter[at]), np.diff(at) * width_s
    forward = steps >= 0
    return float(steps[forward].sum()), float(lasted[forward].sum())


def _measured_window(run: Run, grid: Grid) -> slice:
    """The buckets in which measured prompts were on their way."""
    edges = measured_edges(run.prompts, run.prompts["measured"].to_numpy(dtype=bool))
    if edges is None:
        return slice(0, 0)
    start = run.start.to_datetime64()
    first, last = grid.index(np.array([(edge - start) / np.timedelta64(1, "s") for edge in edges]))
    return slice(int(first), int(last) + 1)


def busy_while_queued(run: Run, uuids: Collection[str] | None = None) -> tuple[float, int]:
    """Mean utilisation over the time in which a prompt waited on every server, and how many buckets that rests on.

    Where several servers share a host it is not known which GPU is whose: only time in which all of them had a queue
    says that each GPU had something to do.
    """
    waiting = run.tracks("server", ("queue_pending",), by="server")
    if not waiting:
        return math.nan, 0
    queued = np.all([np.nan_to_num(one["queue_pending"].low) >= 1 for one in waiting.values()], axis=0)
    used = used_uuids(run) if uuids is None else tuple(uuids)
    busy = run.tracks("gpu", ("utilisation_ratio",))
    values = [busy[uuid]["utilisation_ratio"].mean[queued] for uuid in used if uuid in busy]
    known = np.concatenate(values) if values else np.array([])
    known = known[~np.isnan(known)]
    return (float(known.mean()), int(known.size)) if known.size else (math.nan, 0)

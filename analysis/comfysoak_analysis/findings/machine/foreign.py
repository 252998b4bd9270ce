"""GPU_FOREIGN: somebody else used a GPU under test.

By the driver's list of processes; by what it counts as held by others; and, where neither is told (an exporter), by a
GPU that works while no server beside it has a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.findings.evidence import finding, mostly
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.whose import gpus, listed, servers
from comfysoak_analysis.findings.windows import centres_s, held, moments_in_buckets
from comfysoak_analysis.frames import Run, to_frame
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.codes import Code

LEAST_BYTES = 256 * 1024**2  # a desktop or a monitor holds less
BUSY = 0.2  # utilisation, with nothing of ours to do
BUSY_S = 30.0
AROUND_S = 5.0  # before and after work of ours: readings of the queue and of the exporter are seconds apart
OTHERS_BYTES = 2 * 1024**3  # beyond what the server's own allocator and the driver hold
_LISTED = ("at_ns", "name", "pid", "memory_bytes")
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Foreign:
    """What one of the ways shows: rows for the marks, and words."""

    rows: pd.DataFrame
    words: str
    certainty: Certainty


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, by the surest that tells."""
    for told in (_by_list(run), _by_bytes(run), _by_work(run), _by_memory(run)):
        if told is not None:
            unless = "" if told.certainty is Certainty.CERTAIN else _UNLESS
            yield finding(
                Code.GPU_FOREIGN, told.rows, told.words, states, certainty=told.certainty, unless=unless, chart="vram"
            )
            return


_UNLESS = "It was a server of this test that is not watched, or one whose queue or memory is told too late."


def _by_list(run: Run) -> Foreign | None:
    """Processes that are not the servers' nor ours."""
    found = list(run.reader("gpu_processes").rows_where(_LISTED, ("is_server", "memory_bytes"), _is_foreign))
    rows = to_frame(pa.concat_tables(found)) if found else pd.DataFrame()
    if rows.empty:
        return None
    most = rows["memory_bytes"].max() / _GIB
    count = rows["pid"].nunique()
    processes = "1 foreign process" if count == 1 else f"{count:,} foreign processes"
    named = rows.assign(id=rows["name"], moment=rows["at"], server=None)
    return Foreign(named, f"{processes} held up to {most:.1f} GiB: {mostly(rows['name'])}.", Certainty.CERTAIN)


def _is_foreign(piece: pa.Table) -> pa.ChunkedArray:
    large = pc.greater_equal(piece["memory_bytes"], LEAST_BYTES)
    return pc.fill_null(pc.and_(pc.equal(piece["is_server"], False), large), fill_value=False)  # noqa: FBT003  # a value


def _by_bytes(run: Run) -> Foreign | None:
    """What the sampler summed up of processes that are neither."""
    found = []
    for uuid, track in run.tracks("gpu_health", ("foreign_bytes",)).items():
        bytes_ = track["foreign_bytes"].high
        where = np.flatnonzero(np.nan_to_num(bytes_) >= LEAST_BYTES)
        if where.size:
            found.append((uuid, where, float(np.nanmax(bytes_))))
    if not found:
        return None
    words = [f"Others held up to {most / _GIB:.1f} GiB of {uuid}." for uuid, _, most in found[:3]]
    return Foreign(_rows(run, [(uuid, where) for uuid, where, _ in found]), " ".join(words), Certainty.CERTAIN)


def _by_work(run: Run) -> Foreign | None:
    """GPUs whose processes nobody tells, at work while no server had anything to do."""
    found = []
    unwatched = _unlisted(run)
    quiet = _quiet(run) if unwatched else np.zeros(0, dtype=bool)
    for uuid, track in run.tracks("gpu", ("utilisation_ratio",)).items():
        if uuid not in unwatched:
            continue
        where = np.flatnonzero(quiet & (np.nan_to_num(track["utilisation_ratio"].mean) >= BUSY))
        seconds = where.size * run.coarse.width_s
        if seconds >= BUSY_S:
            found.append((uuid, where, seconds))
    if not found:
        return None
    words = [
        f"{uuid} was at work for {seconds:,.0f} s in which no server had a prompt, running or waiting."
        for uuid, _, seconds in found[:3]
    ]
    return Foreign(_rows(run, [(uuid, where) for uuid, where, _ in found]), " ".join(words), Certainty.LIKELY)


def _quiet(run: Run) -> np.ndarray:
    """Where it is known that no server had a prompt, nor shortly before or after."""
    tracks = run.tracks("server", ("queue_running", "queue_pending"), by="server")
    quiet = np.full(run.coarse.count, len(tracks) > 0)
    reach = max(round(AROUND_S / run.coarse.width_s), 1)
    for server in servers(run):
        if server not in tracks:
            return np.zeros(run.coarse.count, dtype=bool)
        running, pending = (tracks[server][name].high for name in ("queue_running", "queue_pending"))
        known = np.isfinite(running) & np.isfinite(pending)
        busy = np.nan_to_num(running) + np.nan_to_num(pending) > 0
        quiet &= _spread(known, reach) & ~_spread(busy, reach)
    return np.asarray(quiet & ~_spread(_at_work(run), reach))


def _at_work(run: Run) -> np.ndarray:
    """Where a prompt of ours ran, by its own times."""
    begun, ended = (run.prompts[name].to_numpy() for name in ("started_at", "done_at"))
    unknown = np.isnat(begun) | np.isnat(ended)
    if unknown.any():
        begun, ended = begun[~unknown], ended[~unknown]
    begins, ends = (moments_in_buckets(run, one, run.coarse, early=True) for one in (begun, ended))
    return np.asarray((np.cumsum(begins) - np.cumsum(ends) > 0) | (begins > 0) | (ends > 0))


def _spread(where: np.ndarray, reach: int) -> np.ndarray:
    """True as well up to `reach` buckets before and after."""
    sums = np.concatenate(([0], np.cumsum(where)))
    places = np.arange(where.size)
    return np.asarray(sums[np.minimum(places + reach + 1, where.size)] > sums[np.maximum(places - reach, 0)])


def _by_memory(run: Run) -> Foreign | None:
    """An exporter's GPU with far more in use than its only server says it holds; not with dynamic VRAM."""
    if (run.server_log["kind"] == "dynamic_vram").any():
        return None  # its weights are in no figure of the server's
    server_side = run.tracks("server", ("torch_vram_total_bytes",), by="server")
    used = run.tracks("gpu", ("memory_used_bytes",))
    unlisted, found = _unlisted(run), []
    for gpu in gpus(run):
        alone = len(gpu.servers) == 1 and sum(gpu.servers == other.servers for other in gpus(run)) == 1
        if not alone or gpu.uuid not in unlisted or gpu.servers[0] not in server_side or gpu.uuid not in used:
            continue
        width_s = run.coarse.width_s
        ours = held(server_side[gpu.servers[0]]["torch_vram_total_bytes"].high, width_s)
        beyond = held(used[gpu.uuid]["memory_used_bytes"].low, width_s) - ours
        known = np.isfinite(beyond)
        if known.sum() > 1 and np.quantile(beyond[known], 0.1) >= OTHERS_BYTES:
            found.append((gpu.uuid, np.flatnonzero(known), float(np.median(beyond[known]))))
    if not found:
        return None
    words = [
        f"{uuid} had {beyond / _GIB:.1f} GiB more in use than its only server says it holds, throughout."
        for uuid, _, beyond in found[:3]
    ]
    return Foreign(_rows(run, [(uuid, where) for uuid, where, _ in found]), " ".join(words), Certainty.POSSIBLE)


def _unlisted(run: Run) -> set[str]:
    """GPUs whose processes nobody tells."""
    health = run.tracks("gpu_health", ("foreign_bytes", "server_bytes"))
    told = {uuid for uuid, track in health.items() if any(np.isfinite(one.mean).any() for one in track.values())}
    return {gpu.uuid for gpu in gpus(run)} - told - {one.uuid for one in listed(run) if one.is_server is not None}


def _rows(run: Run, found: Iterable[tuple[str, np.ndarray]]) -> pd.DataFrame:
    """The first and the last bucket of each GPU."""
    at_s: Floats = centres_s(run.coarse)
    rows = [(uuid, run.start + pd.Timedelta(seconds=float(at_s[place])), None)
            for uuid, where in found for place in dict.fromkeys((int(where[0]), int(where[-1])))]  # fmt: skip
    return pd.DataFrame(rows, columns=["id", "moment", "server"])

"""DISK_FILL: free space falls steadily and will soon be gone, or there is next to none.

Temporary files of ComfyUI are purged only when it starts. A dump that was written once is a step and no rate; what is
written and pruned again falls nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from comfysoak_analysis.findings.evidence import finding
from comfysoak_analysis.findings.finding import Certainty, Finding
from comfysoak_analysis.findings.leaks import HOUR_S, MIB, lately
from comfysoak_analysis.findings.windows import centres_s
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.codes import Code

HOURS_LEFT = 72.0  # a soak of three days would not end
LEAST_BYTES = 256 * MIB  # that it fell by
PARTS, FALLING = 10, 8  # of the time, and in how many of them it must fall
DUMPED = 0.4  # of the fall in one part: written at once
LOW_BYTES = 2 * 1024 * MIB
_GIB = 1024 * MIB
_STUDENT_95 = 2.262  # of ten parts
_TOLD = 3
_FOLDERS = ("at_ns", "server", "kind", "bytes", "whole", "disk_free_bytes")


@dataclass(frozen=True, slots=True)
class Fall:
    """How fast free space falls, with its 95 % interval."""

    bytes_per_s: float
    low_per_s: float
    high_per_s: float


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk: free space over time, and what was left at the end. `fall` is None where it does not fall steadily."""

    name: str
    server: str | None
    seconds: Floats
    free: Floats
    fall: Fall | None = None

    @property
    def left_bytes(self) -> float:
        """Free at the end."""
        return float(np.median(lately(self.free, 0.02)))

    @property
    def hours_left(self) -> float:
        """At the rate of the run."""
        return np.inf if self.fall is None else self.left_bytes / self.fall.bytes_per_s / HOUR_S


def find(run: Run, states: GpuStates) -> Iterable[Finding]:
    """At most one finding, the disk that is full first before all others."""
    folders = _folders(run)
    disks = [disk for disk in (*_of_hosts(run), *_of_folders(run, folders)) if disk.free.size]
    tested = [replace(disk, fall=_fall(disk)) for disk in disks]
    found = [disk for disk in tested if disk.hours_left < HOURS_LEFT or disk.left_bytes < LOW_BYTES]
    if not found:
        return
    found.sort(key=lambda disk: (disk.hours_left, disk.left_bytes))
    rows = [
        (disk.name, run.start + pd.Timedelta(seconds=float(disk.seconds[place])), disk.server)
        for disk in found for place in ((0, -1) if disk.fall is not None else (-1,))
    ]  # fmt: skip
    low = any(disk.left_bytes < LOW_BYTES for disk in found)
    said = [_words(disk) for disk in found[:_TOLD]] + _grown(run, folders)
    yield finding(
        Code.DISK_FILL, pd.DataFrame(rows, columns=["id", "moment", "server"]), " ".join(said), states,
        count=len(found), certainty=Certainty.CERTAIN if low else Certainty.LIKELY,
        unless="" if low else "Something prunes the disk, less often than this run was long.", chart="hosts",
    )  # fmt: skip


def _folders(run: Run) -> pd.DataFrame:
    return run.frame("folders", _FOLDERS).sort_values("at", ignore_index=True)


def _of_hosts(run: Run) -> Iterable[Disk]:
    at_s = centres_s(run.coarse)
    for host, track in run.tracks("host", ("disk_free_bytes",), by="host").items():
        free = track["disk_free_bytes"].mean
        known = np.isfinite(free)
        yield Disk(f"disk of {host}", None, at_s[known], free[known])


def _of_folders(run: Run, folders: pd.DataFrame) -> Iterable[Disk]:
    """The disk that a server's output is on, which may be another one than its host's."""
    rows = folders[(folders["kind"] == "output") & folders["disk_free_bytes"].notna()]
    for server, part in rows.groupby("server"):
        yield Disk(
            f"output disk of {server}", str(server), run.since_start_s(part["at"]),
            part["disk_free_bytes"].to_numpy(dtype=float),
        )  # fmt: skip


def _fall(disk: Disk) -> Fall | None:
    """By tenths of the time: what is written is a sum, so a line through free space has no independent points.

    Nearly all of them fall, and none holds most of it: that would be a dump.
    """
    edges = np.linspace(disk.seconds[0], disk.seconds[-1], PARTS + 1)
    at_edges = np.interp(edges, disk.seconds, disk.free)
    fell, part_s = -np.diff(at_edges), float(edges[1] - edges[0])
    if part_s <= 0 or fell.sum() < LEAST_BYTES or (fell > 0).sum() < FALLING or fell.max() > DUMPED * fell.sum():
        return None
    reach = _STUDENT_95 * float(fell.std(ddof=1)) / math.sqrt(PARTS)
    middle = float(fell.mean())
    return None if reach >= middle else Fall(middle / part_s, (middle - reach) / part_s, (middle + reach) / part_s)


def _words(disk: Disk) -> str:
    left = f"{disk.left_bytes / _GIB:,.1f} GiB"
    if disk.fall is None:
        return f"{disk.name}: only {left} free at the end."
    fall = disk.fall
    slope, low, high = (HOUR_S * one / _GIB for one in (fall.bytes_per_s, fall.low_per_s, fall.high_per_s))
    return (
        f"{disk.name}: free space fell by {slope:,.3g} GiB/h (95 %: {low:,.3g} to {high:,.3g}); {left} left, "
        f"which lasts {disk.hours_left:,.3g} h."
    )


def _grown(run: Run, folders: pd.DataFrame) -> list[str]:
    """What was written to the folders of the servers, those that grew most first."""
    grown = []
    for (server, kind), part in folders.dropna(subset=["bytes"]).groupby(["server", "kind"]):
        seconds, size = run.since_start_s(part["at"]), part["bytes"].to_numpy(dtype=float)
        if len(part) > 1 and size[-1] - size[0] >= LEAST_BYTES:
            least = "" if part["whole"].fillna(value=True).all() else "at least "
            rate = (size[-1] - size[0]) / (seconds[-1] - seconds[0]) * HOUR_S / _GIB
            grown.append((rate, f"The {kind} folder of {server} grew by {least}{rate:,.3g} GiB/h."))
    return [words for _, words in sorted(grown, reverse=True)[:_TOLD]]

"""Samples of any number as even series: what charts draw, detectors test and lookups read.

A track is one column of one subject (a GPU, a host, a server, ...) in the buckets of a grid, with mean, minimum and
maximum of each. A table is read once for all columns that the report is known to ask for, and tracks are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from comfysoak_analysis.buckets import Buckets, Grid
from comfysoak_analysis.frames.samples import Part, Steps, Track, parts
from comfysoak_analysis.statistics.series import Floats

if TYPE_CHECKING:
    from comfysoak_analysis.frames.run import Run

FINE_MOST, COARSE_MOST = 300_000, 10_000
FINE_LEAST_S = 0.1
_DRIVER = "nvml"

# Of tables that are read for several columns, one after the other: those the report asks for, to be read at once.
TOGETHER: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("gpu", "uuid"): ("memory_used_bytes", "utilisation_ratio", "memory_total_bytes"),
    ("gpu_slow", "uuid"): (
        "power_watts", "energy_joules", "temperature_celsius", "sm_clock_hertz", "sm_active_ratio",
        "tensor_active_ratio", "graphics_active_ratio", "power_throttled_s", "thermal_throttled_s", "xid",
    ),
    ("server", "server"): (
        "queue_pending", "queue_running", "vram_free_bytes", "history_length", "torch_vram_total_bytes",
    ),
    ("gpu_health", "uuid"): ("foreign_bytes", "server_bytes", "sm_clock_most_hertz", "slowdown_celsius"),
    ("processes", "server"): ("rss_bytes",),
}  # fmt: skip

Tracks = Mapping[str, Mapping[str, Buckets]]  # subject -> column -> its track


def fine_grid(duration_s: float) -> Grid:
    """A tenth of a second for runs up to 8 h, a second for three days: for lookups around a moment."""
    return Grid.over(duration_s, FINE_MOST, FINE_LEAST_S)


def coarse_grid(duration_s: float) -> Grid:
    """At most 10,000 buckets: for tests over the whole run and for charts, whose steps are multiples of these."""
    return Grid.over(duration_s, COARSE_MOST, FINE_LEAST_S)


def tracks(run: Run, table: str, columns: Sequence[str], by: str, grid: Grid) -> Tracks:
    """The tracks of `columns` (numbers; names as in a frame: `queue_answer_s`) of each value of `by`.

    A bucket without a sample of its own is NaN: nothing is held here. Of a GPU that the driver tells of a column, what
    an exporter says of it as well is left out.
    """
    with run.lock(table):
        missing = [name for name in columns if (table, by, grid, name) not in run.kept_tracks]
        if missing:
            together = TOGETHER.get((table, by), ()) if grid == run.coarse else ()
            new = [name for name in together if (table, by, grid, name) not in run.kept_tracks]
            for name, found in _read(run, table, tuple(dict.fromkeys([*missing, *new])), by, grid).items():
                run.kept_tracks[table, by, grid, name] = found
    subjects = sorted({one for name in columns for one in run.kept_tracks[table, by, grid, name]})
    return {
        subject: {name: run.kept_tracks[table, by, grid, name][subject] for name in columns} for subject in subjects
    }


def _read(run: Run, table: str, columns: tuple[str, ...], by: str, grid: Grid) -> dict[str, dict[str, Buckets]]:
    """Column -> subject -> track, in one pass over the table."""
    found: dict[tuple[str, str], dict[str, Track]] = {}
    start_ns = run.start_ns or 0
    for part in parts(run.reader(table), table, by, columns):
        key = part.subject, part.source
        if key not in found:
            found[key] = {name: Track(grid, start_ns) for name in columns}
        steps = Steps.of(part.at_ns, grid, start_ns)
        for name, track in found[key].items():
            track.add(part.at_ns, part.values[name], steps)
    return {name: _best({key: mine[name].buckets() for key, mine in found.items()}) for name in columns}


def _best(found: Mapping[tuple[str, str], Buckets]) -> dict[str, Buckets]:
    """For each subject the track by its best source: that of the driver where it tells anything."""
    best: dict[str, Buckets] = {}
    for (subject, _), buckets in sorted(found.items(), key=lambda one: _rank(*one[0])):
        if subject not in best or not np.isfinite(best[subject].mean).any():
            best[subject] = buckets
    return best


def _rank(subject: str, source: str) -> tuple[str, bool, str]:
    return subject, source != _DRIVER, source


def flags(run: Run, table: str, column: str, by: str, grid: Grid) -> Tracks:
    """Of a column of named flags joined by commas: for each flag ever set the share of samples in which it was."""
    key = (table, by, grid, f"flags of {column}")
    if key not in run.kept_flags:
        run.kept_flags[key] = _flags(run, table, column, by, grid)
    return run.kept_flags[key]


def _flags(run: Run, table: str, column: str, by: str, grid: Grid) -> Tracks:
    found: dict[str, dict[str, Track]] = {}
    shown: dict[str, Track] = {}
    start_ns = run.start_ns or 0
    for part in parts(run.reader(table), table, by, (), (column,)):
        mine = found.setdefault(part.subject, {})
        if part.subject not in shown:
            shown[part.subject] = Track(grid, start_ns)
        _add_flags(part, column, mine, shown[part.subject], grid, start_ns)
    return {
        subject: {name: _share(track.buckets(), shown[subject].buckets()) for name, track in sorted(mine.items())}
        for subject, mine in sorted(found.items())
    }


def _add_flags(part: Part, column: str, mine: dict[str, Track], shown: Track, grid: Grid, start_ns: int) -> None:
    codes, texts = part.texts[column]
    known = codes >= 0
    codes, at_ns = codes[known], part.at_ns[known]
    shown.add(at_ns, np.zeros(len(codes)))
    for flag in sorted({flag for text in texts if text for flag in text.split(",") if flag}):
        is_set = np.array([flag in (text or "").split(",") for text in texts], dtype=float)[codes]
        if is_set.any():
            if flag not in mine:
                mine[flag] = Track(grid, start_ns)
            mine[flag].add(at_ns, is_set)


def _share(flag: Buckets, shown: Buckets) -> Buckets:
    """The share over all samples that told their flags: a flag is looked for only from when it was first set."""
    none = shown.number > 0
    zero = np.where(none, np.float32(0), np.float32(np.nan))
    seen = flag.number > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, flag.mean * flag.number / shown.number, zero).astype(np.float32)
    partly = seen & (flag.number < shown.number)
    low: Floats = np.where(seen & ~partly, flag.low, zero)
    return Buckets(flag.grid, mean, low, np.where(seen, flag.high, zero), shown.number)

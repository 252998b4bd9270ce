"""A recording as pandas frames on one clock. In a notebook it starts in one line.

    from comfysoak_analysis import open_run
    run = open_run("runs/20261122-101500-demo")
    run.prompts.groupby("workflow").latency_s.quantile(0.95)

Frames have the columns of `comfysoak_core.rows`, with two changes: a moment `x_ns` is the column `x`, datetime64[ns]
in UTC without a zone (so that numpy works on it), and a duration `x_ns` is `x_s`, float seconds. `run.prompts` has
further columns, see `comfysoak_analysis.prompts`. Missing values are NaT, NaN or None.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import ValidationError

from comfysoak_analysis.buckets import Grid
from comfysoak_analysis.capacity import Capacity, capacities
from comfysoak_analysis.prompts import with_derived_columns
from comfysoak_analysis.tracks import Tracks, coarse_grid, fine_grid, flags, tracks
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import TABLES, Role
from comfysoak_core.scenario.plan import Plan

DURATIONS = frozenset(
    {
        "start_error_ns",
        "end_error_ns",
        "longest_silence_ns",
        "read_cost_ns",
        "late_ns",
        "queue_answer_ns",
        "canary_answer_ns",
        "running_age_ns",
        "oldest_pending_age_ns",
        "stats_answer_ns",
        "lag_max_ns",
        "lateness_max_ns",
        "offset_ns",
        "error_ns",
        "step_ns",
        "upload_took_ns",
    }
)
_GPU_LABELS = frozenset(
    {"at", "read_cost_s", "late_s", "host", "source", "uuid", "index", "instance", "name", "missing"}
)
_ARROW: dict[type, pa.DataType] = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_EDGES = (
    ("prompts", "scheduled_ns"),
    ("prompts", "finished_ns"),
    ("sessions", "opening_ns"),
    ("sessions", "closed_ns"),
    ("gpu", "at_ns"),
)
_WATCHED_EDGES = tuple((table, "at_ns") for table in ("gpu", "gpu_slow", "host", "processes", "server", "events"))
_OF_LOAD = (("prompts", "id"), ("sessions", "id"), ("generator", "at_ns"))


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the load under one name."""

    name: str
    started_ns: int
    ended_ns: int


class Run:
    """One run: its recording, its plan, and a frame for each table, each read once and when first asked for."""

    def __init__(self, recording: Recording, path: Path) -> None:
        self.recording = recording
        self.path = path

    def frame(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table, all columns or the named ones (names as in `comfysoak_core.rows`)."""
        names = tuple(columns) if columns is not None else tuple(_columns(table))
        return to_frame(_complete(self.recording.table(table, names), table, names))

    @cached_property
    def plan(self) -> Plan | None:
        """What was to be done; None where the recording does not say it in a form this version reads."""
        stored = self.recording.run.plan
        if not stored:
            return None
        try:
            return Plan.model_validate(stored)
        except ValidationError:
            return None

    @cached_property
    def is_watching(self) -> bool:
        """Whether nothing was to be sent: a recording of `comfysoak probe`, without a plan and a row of any load."""
        return not self.recording.run.plan and all(self.frame(table, (one,)).empty for table, one in _OF_LOAD)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Intended prompts of the load in order of schedule, with derived columns."""
        rows = self._all_prompts
        return rows[rows["role"] != Role.CANARY.value].reset_index(drop=True)

    @cached_property
    def canaries(self) -> pd.DataFrame:
        """Golden canaries, likewise: they run beside the load, and are in no figure of it."""
        rows = self._all_prompts
        return rows[rows["role"] == Role.CANARY.value].reset_index(drop=True)

    @cached_property
    def _all_prompts(self) -> pd.DataFrame:
        trials = frozenset[str]().union(*(capacity.measured_phases for capacity in self.capacities))
        prompts = with_derived_columns(self.frame("prompts"), self.server_clocks, trials=trials)
        return prompts.sort_values("scheduled", ignore_index=True)

    @cached_property
    def notable(self) -> pd.DataFrame:
        """All columns of the prompts worth a look at each: not the expected outcome, or with a code."""
        rows = self.prompts
        return rows[~rows["ok"] | rows["code"].notna()]

    def prompts_named(self, ids: Collection[str]) -> pd.DataFrame:
        """All columns of a few prompts."""
        return self.prompts[self.prompts["id"].isin(list(ids))]

    @cached_property
    def fine(self) -> Grid:
        """Even steps over the run for lookups around a moment."""
        return fine_grid(self.duration_s)

    @cached_property
    def coarse(self) -> Grid:
        """Even steps over the run for tests and charts."""
        return coarse_grid(self.duration_s)

    def tracks(self, table: str, columns: Sequence[str], by: str = "uuid", grid: Grid | None = None) -> Tracks:
        """See `comfysoak_analysis.tracks.tracks`; on the coarse grid where none is named."""
        return tracks(self, table, columns, by, grid or self.coarse)

    def flags(self, table: str, column: str, by: str = "uuid", grid: Grid | None = None) -> Tracks:
        """See `comfysoak_analysis.tracks.flags`."""
        return flags(self, table, column, by, grid or self.coarse)

    @cached_property
    def capacities(self) -> tuple[Capacity, ...]:
        """What each search for capacity found."""
        return capacities(self.frame("trials"))

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """Executed nodes; `lasted_s` is how long each ran, NaN where the socket was away meanwhile."""
        columns = (
            "prompt_id",
            "node_id",
            "node_class",
            "server",
            "workflow",
            "started_ns",
            "first_progress_ns",
            "ended_ns",
            "steps",
            "in_gap",
        )
        frame = self.frame("nodes", columns)
        lasted = (frame["ended"] - frame["started"]).dt.total_seconds()
        frame["lasted_s"] = lasted.mask(frame["in_gap"].fillna(value=False).astype(bool))
        return frame

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """WebSockets; `open_s` is how long each was open, `dropped` whether it ended in a way nobody asked for."""
        frame = self.frame("sessions")
        frame["open_s"] = (frame["closed"].fillna(self.end) - frame["opened"]).dt.total_seconds()
        frame["dropped"] = frame["opened"].notna() & frame["code"].notna()
        return frame

    @cached_property
    def gpu(self) -> pd.DataFrame:
        """Samples of GPU memory and utilisation in order of time, of each GPU by one source (`told_once`)."""
        columns = (
            "at_ns",
            "host",
            "source",
            "uuid",
            "index",
            "instance",
            "memory_used_bytes",
            "memory_total_bytes",
            "utilisation_ratio",
            "missing",
        )
        return told_once(self.frame("gpu", columns).sort_values("at", ignore_index=True))

    @cached_property
    def gpu_slow(self) -> pd.DataFrame:
        """Power, temperature, clocks and their like."""
        return told_once(self.frame("gpu_slow").sort_values("at", ignore_index=True))

    @cached_property
    def gpu_processes(self) -> pd.DataFrame:
        """Processes on the GPUs."""
        return self.frame("gpu_processes").sort_values("at", ignore_index=True)

    @cached_property
    def host(self) -> pd.DataFrame:
        """Hosts."""
        return self.frame("host").sort_values("at", ignore_index=True)

    @cached_property
    def processes(self) -> pd.DataFrame:
        """The server's processes and ours."""
        return self.frame("processes").sort_values("at", ignore_index=True)

    @cached_property
    def containers(self) -> pd.DataFrame:
        """Containers and control groups that servers live in."""
        return self.frame("containers").sort_values("at", ignore_index=True)

    @cached_property
    def folders(self) -> pd.DataFrame:
        """Output and temporary folders of servers."""
        return self.frame("folders").sort_values("at", ignore_index=True)

    @cached_property
    def gpu_health(self) -> pd.DataFrame:
        """Counters of errors, limits, and who else is on the GPU."""
        return self.frame("gpu_health").sort_values("at", ignore_index=True)

    @cached_property
    def server(self) -> pd.DataFrame:
        """What servers said of themselves."""
        return self.frame("server").sort_values("at", ignore_index=True)

    @cached_property
    def server_log(self) -> pd.DataFrame:
        """Lines of servers' logs worth keeping."""
        return self.frame("server_log").sort_values("at", ignore_index=True, kind="stable")

    @cached_property
    def events(self) -> pd.DataFrame:
        """Anything else that happened at a moment."""
        return self.frame("events").sort_values("at", ignore_index=True)

    @cached_property
    def generator(self) -> pd.DataFrame:
        """The load processes about themselves."""
        return self.frame("generator").sort_values("at", ignore_index=True)

    @cached_property
    def clocks(self) -> pd.DataFrame:
        """How system clocks moved."""
        return self.frame("clocks").sort_values("at", ignore_index=True)

    @cached_property
    def server_clocks(self) -> pd.DataFrame:
        """How far the servers' clocks are from ours."""
        return self.frame("server_clocks").sort_values("at", ignore_index=True)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of the load in order of time: as run.json has them, or as the load processes told them."""
        told = [Phase(one.name, one.started_ns, one.ended_ns or self.load_end_ns) for one in self.recording.run.phases]
        return tuple(told) or self._phases_of_events()

    def _phases_of_events(self) -> tuple[Phase, ...]:
        """Each load process tells of each phase, one shortly after the other."""
        rows = self.events[self.events["kind"] == "phase"].dropna(subset=["subject"])
        rows = rows[rows["subject"] != rows["subject"].shift()]
        starts = [int(moment.value) for moment in rows["at"]]
        ends = [*starts[1:], max(self.load_end_ns, *starts[-1:])] if starts else []
        return tuple(Phase(str(name), *edges) for name, *edges in zip(rows["subject"], starts, ends, strict=True))

    @cached_property
    def load_end_ns(self) -> int:
        """When the load processes had done their last: what is seen later is the run being taken down."""
        moments = [
            self.frame("generator", ("at_ns",))["at"].max(),
            self.frame("prompts", ("finished_ns",))["finished"].max(),
        ]
        known = [int(moment.value) for moment in moments if not pd.isna(moment)]
        return max(known) if known else (self.end_ns or 0)

    @cached_property
    def start_ns(self) -> int | None:
        """The start of load; of the run, or its first row, where the recording does not say it."""
        told = [phase.started_ns for phase in self.phases] or [one.started_ns for one in self.recording.run.segments]
        return min(told) if told else self._edge(first=True)

    @cached_property
    def end_ns(self) -> int | None:
        """The end of the run; the last row where the recording does not say it."""
        ended = self.recording.run.ended
        return ended.at_ns if ended is not None and ended.at_ns else self._edge(first=False)

    @property
    def start(self) -> pd.Timestamp:
        """`start_ns` as a moment; 1970 for an empty recording."""
        return pd.Timestamp(self.start_ns or 0)

    @property
    def end(self) -> pd.Timestamp:
        """`end_ns` as a moment; 1970 for an empty recording."""
        return pd.Timestamp(self.end_ns or 0)

    @property
    def duration_s(self) -> float:
        """From start to end."""
        return max((self.end_ns or 0) - (self.start_ns or 0), 0) / NS_PER_S

    def since_start_s(self, moments: pd.Series) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Moments as seconds after the start; NaN where there is none."""
        seconds: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(
            (moments - self.start).dt.total_seconds(), dtype=float
        )
        return seconds

    def _edge(self, *, first: bool) -> int | None:
        """The earliest or latest moment any row tells of."""
        edges = _WATCHED_EDGES if self.is_watching else _EDGES
        columns = (self.frame(table, (column,)).iloc[:, 0].dropna() for table, column in edges)
        moments = [int((column.min() if first else column.max()).value) for column in columns if len(column)]
        return (min(moments) if first else max(moments)) if moments else None


def open_run(path: Path | str) -> Run:
    """The run recorded in directory `path`; RecordingError, in one clear sentence, when it cannot be read."""
    directory = Path(path)
    return Run(Recording.open(directory), directory)


def told_once(rows: pd.DataFrame) -> pd.DataFrame:
    """GPU rows without what an exporter says of a GPU that the driver tells as well, and fresher.

    Columns that only the exporter tells (of a chip that needs DCGM for its activity) stay, in rows of their own.
    """
    by_exporter = rows["source"] != "nvml"
    if not by_exporter.any():
        return rows
    by_driver = rows[~by_exporter]
    doubled = by_exporter & rows["uuid"].isin(by_driver["uuid"].unique())
    if not doubled.any():
        return rows
    values = [name for name in rows.columns if name not in _GPU_LABELS]
    rows, left = rows.copy(), pd.Series(data=True, index=rows.index)
    for uuid, part in rows[doubled].groupby("uuid"):
        told = by_driver[by_driver["uuid"] == uuid][values].notna().any()
        rows.loc[part.index, [name for name in values if told[name]]] = None
        left[part.index] = rows.loc[part.index, values].notna().any(axis=1)
    return rows[left].reset_index(drop=True)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An arrow table as a frame: moments as datetimes, durations as seconds."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name)
        if not name.endswith("_ns"):
            columns[name] = column
        elif name in DURATIONS:
            columns[f"{name[:-3]}_s"] = pa.compute.divide(column.cast(pa.float64()), float(NS_PER_S))
        else:
            columns[name[:-3]] = column.cast(pa.timestamp("ns"))
    mapping = {pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=mapping.get)
    return frame


def _columns(table: str) -> dict[str, pa.DataType]:
    """The columns of a table with their types."""
    hints = typing.get_type_hints(TABLES[table])
    return {name: _ARROW[_bare(hint)] for name, hint in hints.items() if _is_column(name)}


def _is_column(name: str) -> bool:
    return not name.isupper() and not name.startswith("_")


def _bare(hint: Any) -> type:  # a type, or a union of one with None
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    bare: type = next(part for part in parts if part is not type(None))
    return bare


def _complete(table: pa.Table, name: str, columns: Iterable[str]) -> pa.Table:
    """`table` with exactly `columns`: what it lacks is null, what has another type than expected is cast or null."""
    expected = _columns(name)
    arrays = [_column(table, column, expected[column]) for column in columns]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _column(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if name in table.column_names:
        column = table.column(name)
        if column.type == kind:
            return column
        try:
            return column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.chunked_array([pa.nulls(table.num_rows, kind)])

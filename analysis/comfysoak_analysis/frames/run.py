"""One run: its recording, its plan, and what there is of each table, read when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from comfysoak_analysis.allocating import trim
from comfysoak_analysis.buckets import AT_ONCE, Buckets, Grid, Places, places
from comfysoak_analysis.capacity import Capacity, capacities
from comfysoak_analysis.frames import lean as narrow
from comfysoak_analysis.frames.columns import columns_of, complete, to_frame, told_once
from comfysoak_analysis.frames.samples import numbers, stored_as
from comfysoak_analysis.frames.tracks import Tracks, coarse_grid, fine_grid, flags, tracks
from comfysoak_analysis.prompts import Moments
from comfysoak_analysis.steady_state import SteadyState, leave_out, steady_state
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.parquet import Group
from comfysoak_core.recording.reading import Extent, TableReader
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import TABLES
from comfysoak_core.scenario.plan import Plan

_GENERATOR = (
    "at_ns", "worker", "users", "sockets", "in_flight", "cpu_ratio", "lag_max_ns", "lateness_max_ns", "rss_bytes",
    "journal_errors", "rows_dropped",
)  # fmt: skip
_T = TypeVar("_T")
_P = ParamSpec("_P")

_EDGES = (
    ("prompts", "scheduled_ns"),
    ("prompts", "finished_ns"),
    ("sessions", "opening_ns"),
    ("sessions", "closed_ns"),
    ("gpu", "at_ns"),
)
_WATCHED_EDGES = tuple((table, "at_ns") for table in ("gpu", "gpu_slow", "host", "processes", "server", "events"))
_OF_LOAD = ("prompts", "sessions", "generator")


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
        self.kept_tracks: dict[tuple[str, str, Grid, str], dict[str, Buckets]] = {}
        self.kept_flags: dict[tuple[str, str, Grid, str], Tracks] = {}
        self._readers: dict[str, TableReader] = {}
        self._kept: dict[Callable[..., Any], Any] = {}
        self._locks: dict[object, RLock] = {}

    def once(self, make: Callable[Concatenate[Run, _P], _T], *more: _P.args, **named: _P.kwargs) -> _T:
        """What `make` makes of this run, made once; what it is given beside the run is the run's.

        Who asks for it meanwhile waits.
        """
        with self.lock(make):
            if make not in self._kept:
                self._kept[make] = make(self, *more, **named)
                trim()
        found: _T = self._kept[make]
        return found

    def lock(self, of: object) -> RLock:
        """What keeps two threads from making the same."""
        return self._locks.setdefault(of, RLock())

    def reader(self, table: str) -> TableReader:
        """A table in pieces; of a run that has ended the journal is read once."""
        if table not in self._readers or (not self.recording.run.sealed and self.recording.is_running()):
            self._readers[table] = self.recording.reader(table)
        return self._readers[table]

    def values(self, table: str, column: str) -> pd.Series:
        """One column of numbers, named as in a frame, without what is missing, as float32; nothing is kept of it."""
        stored = stored_as(column, columns_of(table))
        read = (numbers(piece[stored], stored).astype(np.float32) for piece in self.reader(table).pieces((stored,)))
        found = [piece[~np.isnan(piece)] for piece in read]
        return pd.Series(np.concatenate([np.empty(0, np.float32), *found]), copy=False)

    def total(self, table: str, column: str) -> float:
        """The sum of a column of numbers."""
        stored = stored_as(column, columns_of(table))
        return float(sum(np.nansum(numbers(piece[stored], stored)) for piece in self.reader(table).pieces((stored,))))

    def extent(self, table: str) -> Extent:
        """How many rows there are, and from when to when; no file is opened for it."""
        return self.reader(table).extent()

    def frame(self, table: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One table, all columns or the named ones (names as in `comfysoak_core.rows`)."""
        names = tuple(columns) if columns is not None else tuple(columns_of(table))
        return to_frame(complete(self.recording.table(table, names), table, names))

    def lean(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """The named columns in the order of time, texts that repeat as categoricals: a fifth of the memory."""
        ordered_by = TABLES[table].ORDERED_BY
        pieces = list(self.reader(table).in_order(list(dict.fromkeys([ordered_by, *columns]))))
        if not pieces:
            return to_frame(self.reader(table).none(columns))
        return to_frame(pa.concat_tables(pieces).unify_dictionaries().select(columns))

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
        return not self.recording.run.plan and not any(self.extent(table).rows for table in _OF_LOAD)

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """Intended prompts of the load in order of schedule, with derived columns."""
        return self.once(_warmed).prompts

    @property
    def steady_state(self) -> SteadyState | None:
        """From when on the target was warm; None where that cannot be told."""
        return self.once(_warmed).steady_state

    @cached_property
    def canaries(self) -> pd.DataFrame:
        """Golden canaries with all their columns: they run beside the load, and are in no figure of it."""
        return narrow.in_order_of_schedule(self.once(_warmed).canaries, self.derive)

    @cached_property
    def notable(self) -> pd.DataFrame:
        """All columns of the prompts worth a look at each: not the expected outcome, or with a code."""
        return self.once(_notable)

    @property
    def unmeasured(self) -> pa.Table:
        """Who of the prompts is in no figure (a warm-up, a canary, what was aborted): `id` and its moments, stored."""
        return self.once(_warmed).unmeasured

    def prompts_named(self, ids: Collection[str]) -> pd.DataFrame:
        """All columns of a few prompts of the load, those that went wrong found without reading anything again."""
        known = self.notable[self.notable["id"].isin(list(ids))]
        if len(known) == len(set(ids)):
            return known.reset_index(drop=True)
        return leave_out(narrow.named_rows(self.reader("prompts"), self.derive, ids), self.steady_state)

    @property
    def derive(self) -> narrow.Derive:
        """What adds the derived columns to prompts."""
        return narrow.Derive(self.server_clocks, self.trial_phases)

    @cached_property
    def trial_phases(self) -> frozenset[str]:
        """Of searches for capacity the phases that stand for the run."""
        return frozenset[str]().union(*(capacity.measured_phases for capacity in self.capacities))

    @cached_property
    def fine(self) -> Grid:
        """Even steps over the run for lookups around a moment."""
        return fine_grid(self.duration_s)

    @cached_property
    def coarse(self) -> Grid:
        """Even steps over the run for tests and charts."""
        return coarse_grid(self.duration_s)

    def tracks(self, table: str, columns: Sequence[str], by: str = "uuid", grid: Grid | None = None) -> Tracks:
        """See `comfysoak_analysis.frames.tracks.tracks`; on the coarse grid where none is named."""
        return tracks(self, table, columns, by, grid or self.coarse)

    def flags(self, table: str, column: str, by: str = "uuid", grid: Grid | None = None) -> Tracks:
        """See `comfysoak_analysis.frames.tracks.flags`."""
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
        """WebSockets, see `lean_sessions`; `open_s` is how long each was open, `dropped`: nobody asked for its end."""
        return self.once(_sessions)

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
        return self.once(_server_log)

    @cached_property
    def events(self) -> pd.DataFrame:
        """Anything else that happened at a moment."""
        return self.frame("events").sort_values("at", ignore_index=True)

    @cached_property
    def generator(self) -> pd.DataFrame:
        """The load processes about themselves."""
        return _narrow(self.lean("generator", _GENERATOR))

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
        finished = [self._latest("prompts", "finished_ns"), self.extent("generator").last_ns]
        return max(filter(None, finished), default=0) or (self.end_ns or 0)

    def _latest(self, table: str, column: str) -> int | None:
        found = (pc.max(piece[column]).as_py() for piece in self.reader(table).pieces((column,)))
        return max((one for one in found if one is not None), default=None)

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
        at = moments.to_numpy(dtype="datetime64[ns]")
        seconds: np.ndarray[Any, np.dtype[np.float64]] = (at - self.start.to_datetime64()) / np.timedelta64(1, "s")
        return seconds

    def places(self, grid: Grid, moments: Moments) -> Places:
        """The bucket of each of any number of moments; -1 for NaT and what was before the start."""
        pieces = (moments[first : first + AT_ONCE] for first in range(0, len(moments), AT_ONCE))
        found = [places(grid, self.since_start_s(pd.Series(piece, copy=False))) for piece in pieces]
        return np.concatenate([np.empty(0, np.int16), *found])

    def _edge(self, *, first: bool) -> int | None:
        """The earliest or latest moment any row tells of."""
        edges = _WATCHED_EDGES if self.is_watching else _EDGES
        extents = {table: self.extent(table) for table, _ in edges}
        if first:
            return min((one.first_ns for one in extents.values() if one.rows), default=None)
        told = [self._latest(table, column) for table, column in edges if extents[table].rows]
        return max((one for one in told if one is not None), default=None)


@dataclass(frozen=True, slots=True)
class _Prompts:
    """What one pass over the table of prompts gives."""

    prompts: pd.DataFrame
    steady_state: SteadyState | None
    notable: pa.Table
    canaries: pa.Table
    unmeasured: pa.Table


def _warmed(run: Run) -> _Prompts:
    reader = run.reader("prompts")
    collected = narrow.Notable(), narrow.canaries(), narrow.unmeasured(run.trial_phases)

    def beside(group: Group) -> None:
        for one in collected:
            one.add(group)

    rows = narrow.lean_prompts(reader, run.derive, beside)
    trim()
    found = steady_state(rows, run.phases, run.plan)
    return _Prompts(leave_out(rows, found), found, *(one.rows(reader) for one in collected))


def _notable(run: Run) -> pd.DataFrame:
    return leave_out(narrow.in_order_of_schedule(run.once(_warmed).notable, run.derive), run.steady_state)


def _sessions(run: Run) -> pd.DataFrame:
    frame = narrow.lean_sessions(run.reader("sessions"))
    frame["open_s"] = (frame["closed"].fillna(run.end) - frame["opened"]).dt.total_seconds().astype(np.float32)
    frame["dropped"] = frame["opened"].notna() & frame["code"].notna()
    return frame


def _server_log(run: Run) -> pd.DataFrame:
    return narrow.log_lines(run.reader("server_log"))


def _narrow(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float32."""
    wide = [name for name in frame.columns if frame[name].dtype.kind in "iuf"]
    return frame.astype(dict.fromkeys(wide, np.float32))


def open_run(path: Path | str) -> Run:
    """The run recorded in directory `path`; RecordingError, in one clear sentence, when it cannot be read."""
    directory = Path(path)
    return Run(Recording.open(directory), directory)

"""All model loads of a run, each by the best that tells of it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.exporters import intervals_s
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads.by_log import by_log
from comfysoak_analysis.model_loads.by_memory import by_memory
from comfysoak_analysis.model_loads.by_progress import by_progress
from comfysoak_analysis.model_loads.held import LoadedModels
from comfysoak_analysis.model_loads.held import loaded_models as held_by
from comfysoak_analysis.model_loads.load import ModelLoad, Origin, Source
from comfysoak_analysis.model_loads.loaders import Graph
from comfysoak_analysis.model_loads.log_reading import gaps, outages
from comfysoak_analysis.model_loads.nodes_near import NodesNear
from comfysoak_analysis.model_loads.origin import Origins
from comfysoak_analysis.model_loads.places import Places
from comfysoak_analysis.node_lasting import NodeTimes, TimesOfNodes
from comfysoak_analysis.server_hosts import gpus_beside
from comfysoak_analysis.watched_gpus import watched_gpus

_FRESH_LINES = frozenset({"ready", "cache_emptied"})  # cached results went, too: of every model its file is read again
_COARSE_S = 1.0
_TOLD_LATE = pd.Timedelta(seconds=15)  # an event tells of a restart so long after the log has


def model_loads(run: Run) -> tuple[ModelLoad, ...]:
    """All loads of a run in order of time."""
    return read_nodes(run).loads


@dataclass(frozen=True, slots=True)
class NodesRead:
    """What one pass over the nodes, the largest of the tables, gives."""

    times: tuple[NodeTimes, ...]
    loads: tuple[ModelLoad, ...]


def read_nodes(run: Run) -> NodesRead:
    """Model loads, and how long nodes ran; read once."""
    return run.once(_nodes_read)


def _nodes_read(run: Run) -> NodesRead:
    by_server = {server: _Told.of(run, server) for server in _servers(run)}
    reader, times = run.reader("nodes"), TimesOfNodes(run)
    near = NodesNear(run, {server: told.moments for server, told in by_server.items()})
    for group in reader.groups():
        times.add(group)
        near.add(group)
    told_times = times.times()
    return NodesRead(told_times, _model_loads(run, by_server, near.frame(reader)))


def _model_loads(run: Run, by_server: Mapping[str, _Told], nodes: pd.DataFrame) -> tuple[ModelLoad, ...]:
    of_server = {str(server): part.reset_index(drop=True) for server, part in nodes.groupby("server")}
    graphs = _graphs(run)
    users = frozenset((name, node) for name, graph in graphs.items() for node in graph.users())
    none = nodes.head(0)
    placed = {server: _placed(run, told, of_server.get(server, none), users) for server, told in by_server.items()}
    variations = _variations(run, [load for loads in placed.values() for load in loads])
    found: list[ModelLoad] = []
    for server, told in by_server.items():
        fresh = _fresh(run, told.log, server)
        origins = Origins(of_server.get(server, none), graphs, variations, told.log, fresh)
        found += _moved([origins.tell(load) for load in placed[server]], fresh)
    return tuple(sorted(found, key=lambda load: load.started))


def _servers(run: Run) -> list[str]:
    sent_to = run.prompts["server"].dropna().unique() if run.extent("nodes").rows else ()  # the log is read meanwhile
    told = run.server_log.loc[run.server_log["kind"] == "model_requested", "server"]
    return sorted({*told, *map(str, sent_to)})


@dataclass(frozen=True, slots=True)
class _Told:
    """What the log of one server tells of loads; `loads` is None where it tells of none."""

    server: str
    log: pd.DataFrame
    loads: list[ModelLoad] | None
    away: list[tuple[pd.Timestamp, pd.Timestamp]]

    @classmethod
    def of(cls, run: Run, server: str) -> _Told:
        log = run.server_log[run.server_log["server"] == server]
        loads = list(by_log(log, gaps(run, server), server)) if (log["kind"] == "model_requested").any() else None
        return cls(server, log, loads, outages(run, server))

    @property
    def moments(self) -> list[pd.Timestamp] | None:
        """Around which moments nodes are to be known; None: all of them, since loads have to be seen by them."""
        if self.loads is None or self.away or any(load.ended is None for load in self.loads):
            return None
        return [load.started for load in self.loads]


def _placed(run: Run, told: _Told, nodes: pd.DataFrame, users: frozenset[tuple[str, str]]) -> list[ModelLoad]:
    """The loads of one server with the nodes they were in."""
    seen = _seen(run, nodes, told.server) if told.moments is None else []
    loads = seen if told.loads is None else list(told.loads)
    if told.loads is not None:
        loads += [load for load in seen if any(begin <= load.started <= end for begin, end in told.away)]
    places = Places(nodes, users=users, of_file=bool((told.log["source"] == "file").any()))
    return list(_with_ends([places.put(load) for load in sorted(loads, key=lambda load: load.started)], seen))


def _graphs(run: Run) -> dict[str, Graph]:
    workloads = run.plan.workloads if run.plan is not None else ()
    return {one.name: Graph(one.graph) for one in workloads if one.graph}


def _variations(run: Run, loads: list[ModelLoad]) -> Mapping[str, str]:
    """What was varied in the prompts of these loads; not read where no file was: seeds and texts are in none."""
    workloads = run.plan.workloads if run.plan is not None else ()
    if not any(one.vary.inputs or one.vary.nodes for one in workloads):
        return {}
    ids = {load.place.prompt_id for load in loads if load.place is not None}
    if not ids:
        return {}
    wanted = pa.array(sorted(ids), pa.string())
    columns = ("id", "variation")
    rows = run.reader("prompts").rows_where(columns, ("id",), lambda piece: pc.is_in(piece["id"], value_set=wanted))
    pairs = (pair for table in rows for pair in zip(*(table[name].to_pylist() for name in columns), strict=True))
    return {prompt_id: variation for prompt_id, variation in pairs if variation and variation != "{}"}


def let_go(run: Run, server: str) -> list[pd.Timestamp]:
    """When this server was made to let all its models go: begun anew, or told to; in order of time."""
    return _fresh(run, run.server_log[run.server_log["server"] == server], server)


def loaded_models(run: Run, loads: tuple[ModelLoad, ...], server: str) -> LoadedModels:
    """What this server held over time."""
    log = run.server_log[run.server_log["server"] == server]
    emptied = [*_fresh(run, log, server), *log.loc[log["kind"] == "oom", "at"]]
    return held_by([load for load in loads if load.server == server], log, sorted(emptied))


def _seen(run: Run, nodes: pd.DataFrame, server: str) -> list[ModelLoad]:
    """The loads that show without a log; memory tells only of a server that is alone."""
    alone = run.prompts["server"].nunique() <= 1
    by_gpu = list(by_memory(_fine(run, server), nodes, server)) if alone else []
    return by_gpu or list(by_progress(nodes, server))


def _fine(run: Run, server: str) -> pd.DataFrame:
    """Samples of the server's GPUs that are fresh: when an exporter's step was made nobody knows to its interval."""
    beside = set(gpus_beside(run, server)["uuid"])
    coarse = {uuid for uuid, interval_s in intervals_s(run).items() if interval_s > _COARSE_S}
    sources = {gpu.uuid: gpu.source for gpu in watched_gpus(run).values()}
    rows = run.lean("gpu", ("at_ns", "uuid", "source", "memory_used_bytes"))
    best = rows["source"].astype(object) == rows["uuid"].astype(object).map(sources)
    return rows[best & rows["uuid"].isin(beside - coarse)].astype({"uuid": object})


def _with_ends(loads: list[ModelLoad], seen: list[ModelLoad]) -> Iterator[ModelLoad]:
    """A load without an end has that of the only one that was seen in its node, where it is the only one there."""
    within = pd.Series([_node(load) for load in loads if load.ended is None], dtype=object).value_counts()
    ends = {_node(load): load for load in seen}
    for load in loads:
        other = ends.get(_node(load)) if load.place is not None and load.ended is None else None
        if other is None or other.ended is None or within[_node(load)] > 1 or other.ended < load.started:
            yield load
        else:
            yield replace(load, ended=other.ended, ended_by=other.source)


def _node(load: ModelLoad) -> str:
    return f"{load.place.prompt_id}/{load.place.node_id}" if load.place is not None else ""


def _moved(loads: list[ModelLoad], fresh: list[pd.Timestamp]) -> Iterator[ModelLoad]:
    """Without those that are none: staged anew, while it was staged already, with no file read for it.

    That is another use of the same weights (with another LoRA strength, for one): no dynamic model leaves for another.
    """
    staged: dict[str, pd.Timestamp] = {}
    for load in loads:
        since = staged.get(load.label)
        there = since is not None and bisect(fresh, since) == bisect(fresh, load.started)
        if load.staged:
            staged[load.label] = load.started
        if not (load.staged and there and load.origin is Origin.WARM and load.source is Source.LOG):
            yield load


def _fresh(run: Run, log: pd.DataFrame, server: str) -> list[pd.Timestamp]:
    """When this server held nothing any more, neither on its GPU nor in memory: begun anew, or let go."""
    lines = list(log.loc[log["kind"].isin(_FRESH_LINES), "at"])
    events = run.events[run.events["server"] == server]
    settled = events.loc[(events["kind"] == "settled") & (events["subject"] == "begin"), "at"]
    begun = list(events.loc[events["kind"] == "server_restarted", "at"])
    begun += list(events.loc[events["kind"] == "server_process", "at"])[1:]  # the first one is that it was found
    begun += list(events.loc[events["kind"] == "server_process_gone", "at"])
    unheard = [at for at in begun if not any(line <= at <= line + _TOLD_LATE for line in lines)]
    return sorted([*lines, *settled, *unheard])

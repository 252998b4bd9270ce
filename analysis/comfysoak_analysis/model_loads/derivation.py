"""All model loads of a run, each by the best that tells of it."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pandas as pd

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
from comfysoak_analysis.model_loads.origin import Origins
from comfysoak_analysis.model_loads.places import Places
from comfysoak_analysis.server_hosts import gpus_beside

_FRESH_LINES = frozenset({"ready", "cache_emptied"})  # cached results went, too: of every model its file is read again
_COARSE_S = 1.0
_TOLD_LATE = pd.Timedelta(seconds=15)  # an event tells of a restart so long after the log has


def model_loads(run: Run) -> tuple[ModelLoad, ...]:
    """All loads of a run in order of time."""
    told = set(run.server_log.loc[run.server_log["kind"] == "model_requested", "server"])
    servers = sorted({str(server) for server in run.nodes["server"]} | told)
    workflows = _Workflows(run)
    found = [load for server in servers for load in _of_server(run, server, workflows)]
    return tuple(sorted(found, key=lambda load: load.started))


def let_go(run: Run, server: str) -> list[pd.Timestamp]:
    """When this server was made to let all its models go: begun anew, or told to; in order of time."""
    return _fresh(run, run.server_log[run.server_log["server"] == server], server)


def loaded_models(run: Run, loads: tuple[ModelLoad, ...], server: str) -> LoadedModels:
    """What this server held over time."""
    log = run.server_log[run.server_log["server"] == server]
    emptied = [*_fresh(run, log, server), *log.loc[log["kind"] == "oom", "at"]]
    return held_by([load for load in loads if load.server == server], log, sorted(emptied))


class _Workflows:
    """The graphs of a run, and what was varied in each prompt."""

    def __init__(self, run: Run) -> None:
        workloads = run.plan.workloads if run.plan is not None else ()
        self.graphs = {one.name: Graph(one.graph) for one in workloads if one.graph}
        self.users = frozenset((name, node) for name, graph in self.graphs.items() for node in graph.users())
        prompts = run.frame("prompts", ("id", "variation"))
        varied = prompts[prompts["variation"].fillna("{}") != "{}"]
        self.variations: Mapping[str, str] = dict(zip(varied["id"], varied["variation"], strict=True))


def _of_server(run: Run, server: str, workflows: _Workflows) -> Iterator[ModelLoad]:
    log = run.server_log[run.server_log["server"] == server]
    nodes = run.nodes[run.nodes["server"] == server].sort_values("started", ignore_index=True)
    seen = _seen(run, nodes, server)
    loads = list(by_log(log, gaps(run, server), server)) if (log["kind"] == "model_requested").any() else None
    if loads is None:
        loads = seen
    else:
        away = outages(run, server)
        loads += [load for load in seen if any(begin <= load.started <= end for begin, end in away)]
    places = Places(nodes, users=workflows.users, of_file=bool((log["source"] == "file").any()))
    placed = _with_ends([places.put(load) for load in sorted(loads, key=lambda load: load.started)], seen)
    fresh = _fresh(run, log, server)
    origins = Origins(nodes, workflows.graphs, workflows.variations, log, fresh)
    yield from _moved([origins.tell(load) for load in placed], fresh)


def _seen(run: Run, nodes: pd.DataFrame, server: str) -> list[ModelLoad]:
    """The loads that show without a log; memory tells only of a server that is alone."""
    alone = run.prompts["server"].nunique() <= 1
    by_gpu = list(by_memory(_fine(run, server), nodes, server)) if alone else []
    return by_gpu or list(by_progress(nodes, server))


def _fine(run: Run, server: str) -> pd.DataFrame:
    """Samples of the server's GPUs that are fresh: when an exporter's step was made nobody knows to its interval."""
    gpu = gpus_beside(run, server)
    coarse = [uuid for uuid, interval_s in intervals_s(run).items() if interval_s > _COARSE_S]
    return gpu[~gpu["uuid"].isin(coarse)]


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

"""Servers and their queues written out the plain way: an oracle for the planner, and recordings of what they did.

Nothing here is shared with `planning.fleet`: a queue is a list, a server holds a list of models, and every prompt is
followed event by event.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted.writing import write
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.run_file import Ended, EndReason, PhaseFacts, RunFile, Segment, ServerFacts
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.routing import Route
from comfysoak_core.scenario.stage import Arrivals, Stage
from comfysoak_core.scenario.workload import Workload
from tests.analysis.planted import START_NS, graph

GIB = 1024**3


@dataclass
class Prompt:
    """One prompt through its life; seconds after the start."""

    due_s: float
    kind: int
    service_s: float
    loading_s: float
    server: int = -1
    started_s: float = -1.0
    ended_s: float = -1.0
    loaded: bool = False


@dataclass
class PlainServer:
    """A server: what waits, what runs, what it holds."""

    room: int
    waiting: list[Prompt] = field(default_factory=list)
    running: Prompt | None = None
    held: list[int] = field(default_factory=list)

    def begin(self, now_s: float) -> None:
        """Take the next one, if there is one and nothing runs."""
        if self.running is not None or not self.waiting:
            return
        one = self.running = self.waiting.pop(0)
        one.loaded = one.kind not in self.held
        self.held = [kind for kind in self.held if kind != one.kind][-(self.room - 1) :] if self.room > 1 else []
        self.held.append(one.kind)
        one.started_s, one.ended_s = now_s, now_s + one.service_s + one.loading_s * one.loaded


def play(prompts: Sequence[Prompt], servers: int, route: Route, room: int = 1) -> list[Prompt]:
    """Follow all prompts, event by event; each kind needs a model of its own, of which a server holds `room`."""
    fleet, turn = [PlainServer(room) for _ in range(servers)], 0
    coming = list(prompts)
    while coming or any(one.running for one in fleet):
        ends = [one.running.ended_s if one.running else float("inf") for one in fleet]
        soonest = min(range(servers), key=lambda number: ends[number])
        if coming and coming[0].due_s < ends[soonest]:
            one = coming.pop(0)
            lengths = [len(each.waiting) + (each.running is not None) for each in fleet]
            if route == "shortest-queue":
                order = [(turn + step) % servers for step in range(servers)]
                one.server = min(order, key=lambda number: lengths[number])
                turn = (one.server + 1) % servers
            elif route == "round-robin":
                one.server, turn = turn, (turn + 1) % servers
            else:
                one.server = one.kind % servers
            fleet[one.server].waiting.append(one)
            fleet[one.server].begin(one.due_s)
        else:
            now_s = ends[soonest]
            fleet[soonest].running = None
            fleet[soonest].begin(now_s)
    return list(prompts)


def poisson(count: int, per_s: float, services: Sequence[float], seed: int, *, loading_s: float = 0.0) -> list[Prompt]:
    """Prompts at random moments, of kinds in equal shares; a service time is within a fifth of its kind's."""
    numbers = np.random.default_rng(seed)
    due_s = np.cumsum(numbers.exponential(1 / per_s, count)).tolist()
    kinds = numbers.integers(0, len(services), count).tolist()
    spread = numbers.uniform(0.8, 1.2, count).tolist()
    return [
        Prompt(due, kind, services[kind] * times, loading_s)
        for due, kind, times in zip(due_s, kinds, spread, strict=True)
    ]


def record(
    path: Path,
    prompts: Sequence[Prompt],
    servers: int,
    route: Route,
    names: Sequence[str],
    *,
    goals: tuple[str, ...] = (),
) -> Path:
    """The recording of what `play` did: each kind is the workflow of that name, its model loads are in the log."""
    urls = tuple(f"http://gpu-{number}:8188" for number in range(1, servers + 1))
    lasts_s = max((one.ended_s for one in prompts), default=60.0) + 1
    end_ns = START_NS + round(lasts_s * NS_PER_S)
    rate = Line.level(len(prompts) / lasts_s)
    graphs = [graph(name) for name in names]
    for name, nodes in zip(names, graphs, strict=True):
        nodes["4"]["inputs"]["ckpt_name"] = f"{name}.safetensors"
    plan = Plan(
        name=path.name,
        servers=urls,
        route=route,
        workloads=tuple(Workload(name=name, graph=nodes) for name, nodes in zip(names, graphs, strict=True)),
        stages=(Stage(duration_s=lasts_s, arrivals=Arrivals(rate_per_s=rate)),),
        goals=goals,
    )
    run = RunFile(
        id=str(uuid.UUID(int=len(prompts), version=4)),
        name=path.name,
        created_ns=START_NS,
        segments=(Segment(started_ns=START_NS, ended_ns=end_ns),),
        plan=plan.model_dump(mode="json"),
        servers=tuple(ServerFacts(url=url) for url in urls),
        phases=(PhaseFacts(name="load", started_ns=START_NS, ended_ns=end_ns),),
        ended=Ended(at_ns=end_ns, reason=EndReason.FINISHED),
        sealed=True,
    )
    return write(path, run, _tables(prompts, urls, names) if prompts else {})


def _tables(prompts: Sequence[Prompt], urls: Sequence[str], names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    ids = [str(uuid.UUID(int=number + 1, version=4)) for number in range(len(prompts))]
    started, ended = _ns([one.started_s for one in prompts]), _ns([one.ended_s for one in prompts])
    due = _ns([one.due_s for one in prompts])
    workflow, server = [names[one.kind] for one in prompts], [urls[one.server] for one in prompts]
    rows = {
        "id": ids, "server": server, "worker": "load-0", "client_id": "client", "workflow": workflow, "phase": "load",
        "variation": "{}", "expected": "success", "scheduled_ns": due, "sent_ns": due, "accepted_ns": due,
        "start_received_ns": started, "start_error_ns": 1000, "end_received_ns": ended, "end_error_ns": 1000,
        "end_source": "socket", "finished_ns": ended, "outcome": "success", "outputs_expected": 2,
        "outputs_received": 2, "messages": 9, "message_bytes": 900, "front": False, "attempt": 1, "role": "load",
    }  # fmt: skip
    nodes = {
        "id": [f"{one}/3" for one in ids], "prompt_id": ids, "node_id": "3", "node_class": "KSampler", "server": server,
        "workflow": workflow, "started_ns": started, "ended_ns": ended, "steps": 12.0, "in_gap": False,
    }  # fmt: skip
    tables: dict[str, list[dict[str, Any]]] = {"prompts": [rows], "nodes": [nodes]}
    log = [line for one in prompts if one.loaded for line in _load(one, urls[one.server], names[one.kind])]
    if log:
        tables["server_log"] = [{key: [line[key] for line in log] for key in log[0]}]
    return tables


def _load(one: Prompt, server: str, name: str) -> list[dict[str, Any]]:
    """The two lines of the log about a load."""
    begun, done = _ns([one.started_s + 0.001, one.started_s + 0.001 + 0.9 * one.loading_s]).tolist()
    size = 6 * GIB
    common = {"server": server, "source": "file"}
    asked = {"at_ns": begun, "kind": "model_requested", "model": name, "loaded_bytes": None,
             "text": f"Requested to load {name}"}  # fmt: skip
    loaded = {"at_ns": done, "kind": "model_loaded", "model": name, "loaded_bytes": size,
              "text": f"loaded completely; {size / 2**20:.2f} MB loaded, full load: True"}  # fmt: skip
    return [common | asked, common | loaded]


def _ns(seconds: Sequence[float]) -> np.ndarray[Any, np.dtype[np.int64]]:
    moments: np.ndarray[Any, np.dtype[np.int64]] = START_NS + np.round(np.array(seconds) * NS_PER_S).astype(np.int64)
    return moments

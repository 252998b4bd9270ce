"""Recordings of a load in stretches, made column by column: so many users, so many prompts a second, so long each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.planted.writing import write
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.run_file import Ended, EndReason, PhaseFacts, RunFile, Segment, ServerFacts
from comfysoak_core.scenario.curve import Line
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.scenario.stage import Stage
from comfysoak_core.scenario.workload import Workload
from tests.analysis.planted import START_NS, graph

SERVER = "http://gpu-1:8188"
WORKFLOW = "sketch-sd15"


@dataclass(frozen=True)
class Stretch:
    """`lasts_s` of `users`, who get `per_s` prompts a second done, each after `latency_s`, or from that to `until_s`.

    `of_queue`: how long the queue is that the server tells, as a share of what our prompts make of it.
    """

    lasts_s: float
    users: int
    per_s: float
    latency_s: float
    until_s: float | None = None
    phase: str = "load"
    of_queue: float = 1.0
    fails: float = 0.0  # this share of the prompts


def served(path: Path, stretches: Sequence[Stretch], *, seed: int = 1, stages: Sequence[Stage] = ()) -> Path:
    """The recording; `stages` are what was planned, where that is not one stage a stretch."""
    drawn = np.random.default_rng(seed)
    edges = np.concatenate(([0.0], np.cumsum([one.lasts_s for one in stretches])))
    prompts = [_prompts(one, begin, drawn) for one, begin in zip(stretches, edges, strict=False)]
    joined = {name: np.concatenate([part[name] for part in prompts]) for name in prompts[0]}
    tables = {
        "prompts": [_columns(joined, drawn)],
        "generator": [_generator(stretches, edges)],
        "server": [_server(stretches, edges, joined, drawn)],
    }
    planned = stages or [
        Stage(duration_s=one.lasts_s, users=Line.level(one.users), phase=one.phase) for one in stretches
    ]
    return write(path, _run_file(stretches, edges, planned), tables)


def _prompts(stretch: Stretch, begin_s: float, drawn: np.random.Generator) -> dict[str, np.ndarray]:
    """Prompts that end within the stretch."""
    count = int(drawn.poisson(stretch.per_s * stretch.lasts_s))
    ended = begin_s + np.sort(drawn.uniform(0, stretch.lasts_s, count))
    through = (ended - begin_s) / stretch.lasts_s
    until = stretch.latency_s if stretch.until_s is None else stretch.until_s
    latency = (stretch.latency_s + (until - stretch.latency_s) * through) * drawn.lognormal(0, 0.15, count)
    due = np.maximum(ended - latency, 0.0)
    outcome = np.where(np.arange(count) % 100 < 100 * stretch.fails, "failed", "success").astype(object)
    return {"due": due, "ended": ended, "phase": np.full(count, stretch.phase, dtype=object), "outcome": outcome}


def _columns(prompts: dict[str, np.ndarray], drawn: np.random.Generator) -> dict[str, Any]:
    due, ended = (START_NS + np.round(prompts[name] * NS_PER_S).astype(np.int64) for name in ("due", "ended"))
    service = np.minimum((ended - due) // 2, NS_PER_S)
    return {
        "id": [str(uuid.UUID(bytes=drawn.bytes(16), version=4)) for _ in range(due.size)],
        "server": SERVER,
        "worker": "load-0",
        "client_id": "client-0",
        "workflow": WORKFLOW,
        "phase": list(prompts["phase"]),
        "variation": "{}",
        "expected": "success",
        "scheduled_ns": due,
        "sent_ns": due,
        "accepted_ns": due,
        "start_received_ns": ended - service,
        "end_received_ns": ended,
        "fetched_ns": ended,
        "finished_ns": ended,
        "outcome": list(prompts["outcome"]),
        "role": "load",
    }


def _generator(stretches: Sequence[Stretch], edges: np.ndarray) -> dict[str, Any]:
    seconds = np.arange(0, edges[-1])
    users = np.array([one.users for one in stretches])[np.searchsorted(edges, seconds, side="right") - 1]
    at = START_NS + (seconds * NS_PER_S).astype(np.int64)
    told = {"users": users, "sockets": users, "in_flight": users, "cpu_ratio": 0.2, "lag_max_ns": 2_000_000}
    return {"at_ns": at, "worker": "load-0", "pid": 7, "journal_errors": 0, "rows_dropped": 0, **told}


def _server(
    stretches: Sequence[Stretch], edges: np.ndarray, prompts: dict[str, np.ndarray], drawn: np.random.Generator
) -> dict[str, Any]:
    """The queue read every second, somewhere in it."""
    seconds = np.arange(0, edges[-1]) + drawn.uniform(0, 1, int(np.ceil(edges[-1])))
    due, ended = np.sort(prompts["due"]), np.sort(prompts["ended"])
    there = np.searchsorted(due, seconds) - np.searchsorted(ended, seconds)
    share = np.array([one.of_queue for one in stretches])[
        np.minimum(np.searchsorted(edges, seconds, side="right") - 1, len(stretches) - 1)
    ]
    told = np.round(there * share + drawn.uniform(-0.5, 0.5, there.size)).clip(0)  # rounded without a bias
    at = START_NS + (seconds * NS_PER_S).astype(np.int64)
    running = np.minimum(told, 1).astype(np.int64)
    return {"at_ns": at, "server": SERVER, "queue_running": running, "queue_pending": told.astype(np.int64) - running}


def _run_file(stretches: Sequence[Stretch], edges: np.ndarray, stages: Sequence[Stage]) -> RunFile:
    moments = [START_NS + round(edge * NS_PER_S) for edge in edges]
    plan = Plan(
        name="served",
        seed=1,
        servers=(SERVER,),
        workloads=(Workload(name=WORKFLOW, graph=graph(WORKFLOW), deadline_s=120.0),),
        stages=tuple(stages),
    )
    return RunFile(
        id="00000000-0000-4000-8000-000000000002",
        name="served",
        created_ns=START_NS,
        segments=(Segment(started_ns=START_NS, ended_ns=moments[-1]),),
        plan=plan.model_dump(mode="json"),
        servers=(ServerFacts(url=SERVER),),
        phases=tuple(
            PhaseFacts(name=one.phase, started_ns=begin, ended_ns=end)
            for one, begin, end in zip(stretches, moments, moments[1:], strict=False)
        ),
        ended=Ended(at_ns=moments[-1], reason=EndReason.FINISHED),
        sealed=True,
    )

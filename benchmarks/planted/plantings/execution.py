"""Plantings of what goes wrong while prompts are run."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.planted.drawing import steady
from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.world import Fate, Stuck, World
from comfysoak_core.codes import Code
from comfysoak_core.scenario.workload import Cancel

_WAITS: Final = {
    Code.DEADLINE: "prompts behind it reach their deadline",
    Code.IDLE_WITH_QUEUE: "the GPU is idle, and prompts wait",
    Code.GAVE_UP: "their users wait no longer",
}


def _few(world: World, most: int = 2) -> list[float]:
    return sorted(world.moment(0.1, 0.9) for _ in range(world.whole(1, most)))


def _shorter(world: World) -> None:
    """Deadlines of 90 to 150 s, so that users do not wait for the rest of the run."""
    limit = world.between(90, 150)
    world.workflows = tuple(replace(flow, deadline_s=limit) for flow in world.workflows)


def _worker_dead(world: World) -> None:
    _shorter(world)
    remaining = world.between(120, 300)
    world.script.stuck.append(Stuck(world.any_server(), world.duration_s - remaining, hangs=False))


def _node_hang(world: World) -> None:
    _shorter(world)
    remaining, pinned = world.between(120, 300), bool(world.random.random() < 0.5)
    world.script.stuck.append(Stuck(world.any_server(), world.duration_s - remaining, hangs=True, pinned=pinned))
    if world.random.random() < 0.3:
        world.more["workload"] = {"cancel": Cancel(share=0.02, after_s=(1.0, 5.0))}


def _misfire(world: World) -> None:
    world.script.fates += [Fate(at, "node", "interrupted", "INTERRUPT_MISFIRE", node="8") for at in _few(world)]


def _cache_hit(world: World) -> None:
    world.script.fates += [Fate(at, "cached", "cached", "CACHE_HIT") for at in _few(world)]


def _vanished(world: World) -> None:
    world.script.fates += [Fate(at, "deleted", "vanished", "PROMPT_VANISHED") for at in _few(world)]


def _node_error(world: World) -> None:
    message = "The size of tensor a (64) must match the size of tensor b (77) at non-singleton dimension 1"
    world.script.fates += [
        Fate(at, "node", "failed", "NODE_ERROR", node=node, error_type="RuntimeError", message=message)
        for at, node in zip(_few(world), ("8", "3"), strict=False)
    ]


EXECUTION: Final = (
    Planting(Code.WORKER_DEAD, "nothing runs for the last 120 to 300 s, while prompts are accepted", _worker_dead,
             {"load": lambda: steady(4.0)}, _WAITS),
    Planting(Code.NODE_HANG, "a node does not end for the last 120 to 300 s, GPU idle or pinned", _node_hang,
             {"load": lambda: steady(4.0)}, _WAITS),
    Planting(Code.INTERRUPT_MISFIRE, "1 or 2 prompts interrupted that nobody meant", _misfire),
    Planting(Code.CACHE_HIT, "1 or 2 prompts that did no work", _cache_hit),
    Planting(Code.PROMPT_VANISHED, "1 or 2 prompts deleted while they waited", _vanished),
    Planting(Code.NODE_ERROR, "1 or 2 prompts with an execution_error", _node_error),
)  # fmt: skip

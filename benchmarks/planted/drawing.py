"""Believable runs, drawn from a seed: what is under load, how much, and how long."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.planted.world import GIB, HISTORY_AT_MOST, HISTORY_LEAST, MIB, Load, Machine, Workflow, World

_GPUS = (
    ("NVIDIA L4", 24, 72.0, 1.9),
    ("NVIDIA RTX A5000", 24, 230.0, 1.0),
    ("NVIDIA L40S", 48, 350.0, 0.6),
    ("NVIDIA H100 80GB HBM3", 80, 700.0, 0.35),
)  # name, GiB, watts, how long work takes against an A5000
_WORKFLOWS = (
    ("portrait-sdxl", "SDXL", 6.6, 25, 0.16, 0.9, 2.2),
    ("sketch-sd15", "BaseModel", 2.1, 20, 0.07, 0.4, 1.0),
    ("poster-flux", "Flux", 11.9, 20, 0.45, 1.0, 2.6),
    ("turbo-sd3", "SD3", 4.4, 12, 0.2, 0.6, 1.6),
    ("still-wan", "WAN21", 14.0, 8, 0.5, 1.0, 2.4),
    ("text-qwen", "QwenImage", 13.1, 8, 0.55, 0.9, 2.4),
)  # name, model, its GiB, steps, seconds a step, of decoding, GiB beside the model


def draw(seed: int, name: str, **changes: Any) -> World:
    """A run of 20 to 40 minutes with one to four workflows; `changes` are fields of the world that are given."""
    numbers = np.random.default_rng(seed)
    servers = int(changes.pop("servers", 1))
    gpu = _GPUS[int(changes.pop("gpu", numbers.integers(len(_GPUS))))]
    workflows = changes.pop("workflows", None) or draw_workflows(numbers, gpu[3], fitting_gib=gpu[1] - 4)
    measured_s = float(changes.pop("measured_s", numbers.uniform(20, 40) * 60))
    warmup_s = float(changes.pop("warmup_s", numbers.uniform(60, 180)))
    machines = tuple(_machine(numbers, gpu, number) for number in range(servers))
    world = World(
        name=name,
        random=numbers,
        duration_s=measured_s + warmup_s,
        warmup_s=warmup_s,
        workflows=workflows,
        machines=machines,
        load=changes.pop("load", None) or draw_load(numbers, workflows, servers),
        watchers=int(changes.pop("watchers", numbers.integers(2, 9))),
        noise=float(numbers.uniform(0.015, 0.05)),
        kept_factor=float(numbers.uniform(HISTORY_LEAST, HISTORY_AT_MOST)),
    )
    for field, value in changes.items():
        setattr(world, field, value)
    return world


def draw_workflows(
    numbers: np.random.Generator, pace: float, *, fitting_gib: float, most: int = 4, least: int = 1
) -> tuple[Workflow, ...]:
    """Some of the workflows, all of whose models fit together."""
    wanted = int(numbers.integers(least, most + 1))
    order = numbers.permutation(4)  # the large ones fit on few cards
    chosen: list[Workflow] = []
    used = 3.0
    for position in order:
        size = _WORKFLOWS[position][2]
        if len(chosen) < wanted and used + size <= fitting_gib:
            chosen.append(workflow(_WORKFLOWS[position], pace, weight=float(numbers.uniform(0.5, 2.0))))
            used += size
    return tuple(chosen)


def workflow(facts: tuple[str, str, float, int, float, float, float], pace: float, **changes: Any) -> Workflow:
    """One of the known workflows on a GPU of this pace."""
    name, model, size, steps, step_s, decode_s, activation = facts
    return Workflow(
        name=name,
        model=model,
        model_bytes=int(size * GIB),
        steps=steps,
        step_s=step_s * pace,
        decode_s=decode_s * pace,
        activation_bytes=int(activation * GIB),
        **changes,
    )


def known_workflow(number: int, pace: float = 1.0, **changes: Any) -> Workflow:
    """Workflow `number` of those there are."""
    return workflow(_WORKFLOWS[number], pace, **changes)


def draw_load(numbers: np.random.Generator, workflows: tuple[Workflow, ...], servers: int) -> Load:
    """Closed load of two to six users a server, or open load of 40 to 75 % of what the servers can do."""
    if numbers.random() < 0.6:
        return steady(float(numbers.integers(2, 7) * servers))
    capacity = servers / _mean_service_s(workflows)
    return steady(float(capacity * numbers.uniform(0.4, 0.75)), is_open=True)


def steady(most: float, *, is_open: bool = False, think_s: tuple[float, float] = (0.5, 3.0)) -> Load:
    """The same all the time."""
    return Load(is_open=is_open, most=most, level=lambda _: most, think_s=think_s)


def wave(low: float, high: float, period_s: float, *, is_open: bool = False, phase: float = 0.0) -> Load:
    """Day and night."""
    middle, swing = (low + high) / 2, (high - low) / 2
    return Load(
        is_open=is_open,
        most=high,
        level=lambda at: middle - swing * math.cos(2 * math.pi * (at / period_s + phase)),
    )


def _mean_service_s(workflows: tuple[Workflow, ...]) -> float:
    total = sum(one.weight for one in workflows)
    return sum(one.weight * one.service_s for one in workflows) / total


def capacity_per_s(world: World) -> float:
    """How many prompts a second its servers can do."""
    return len(world.machines) / _mean_service_s(world.workflows)


def _machine(numbers: np.random.Generator, gpu: tuple[str, int, float, float], number: int) -> Machine:
    return Machine(
        url=f"http://gpu-{number + 1}:8188",
        host=f"gpu-{number + 1}",
        uuid=f"GPU-{int(numbers.integers(16**8)):08x}-0000-4000-8000-{number:012x}",
        index=0,
        pid=int(numbers.integers(800, 60_000)),
        gpu_name=gpu[0],
        vram_bytes=gpu[1] * GIB,
        idle_bytes=int(numbers.uniform(480, 760) * MIB),
        rss_bytes=int(numbers.uniform(2.2, 3.6) * GIB),
        bandwidth=float(numbers.uniform(2.0, 5.0) * GIB),
        watts=gpu[2],
    )

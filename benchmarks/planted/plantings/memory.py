"""Plantings of what goes wrong with memory, and of what gets slower."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.planted.course import SAMPLE
from benchmarks.planted.drawing import known_workflow, steady, wave
from benchmarks.planted.graphs import kept_bytes
from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.world import MIB, Fate, World
from comfysoak_core.codes import Code

LONG_S: Final = 7200.0
_BLOATING: Final = (0.03, 0.326)  # prompts a second: 1,280 in two hours
_RARELY: Final = {"gpu_every_s": 0.5, "every_s": 2.0}
_OOM_TEXT: Final = "Allocation on device 0 would exceed allowed memory. (out of memory)"


def _oom_fate(at: float, keeps: float = 0.0) -> Fate:
    return Fate(at, "node", "oom", "OOM", node=SAMPLE, error_type="torch.OutOfMemoryError", message=_OOM_TEXT,
                keeps_bytes=int(keeps))  # fmt: skip


def _oom(world: World) -> None:
    world.script.fates += [_oom_fate(world.moment(0.1, 0.9)) for _ in range(world.whole(1, 2))]


def _oom_sticky(world: World) -> None:
    """What stays lifts the settled baseline (the CUDA context and what the server always holds) by a tenth and more."""
    least = max(0.1 * world.machines[0].idle_bytes, 64 * MIB)
    world.script.fates.append(_oom_fate(world.moment(0.35, 0.65), least * world.between(1.15, 1.5)))


def _rises(world: World, most: float) -> tuple[int, float]:
    """A slope that gives 1.2 to 1.5 times the least rise of 64 MiB over the measured time."""
    rise = world.between(1.2, 1.5) * 64 * MIB
    return world.any_server(), rise / most


def _vram_leak(world: World) -> None:
    server, slope = _rises(world, world.duration_s - world.measured_s)
    start = world.measured_s
    world.script.vram.append((server, lambda at: np.maximum(at - start, 0) * slope))
    if world.random.random() < 0.5:
        world.settle = (world.between(300, 420), 30.0)


def _ram_leak(world: World) -> None:
    """So much an hour; and so much a prompt that nothing of the other hides in what history may take."""
    server, slope = _rises(world, world.duration_s - world.measured_s)
    start = world.measured_s
    world.script.rss.append((server, lambda at: np.maximum(at - start, 0) * slope))
    world.script.hidden.add(server)


def _history_bloat(world: World) -> None:
    """A long text in each prompt, by which history takes 1.2 to 1.5 times 64 MiB over the measured time."""
    expected = 0.5 * (_BLOATING[0] + _BLOATING[1]) * (world.duration_s - world.measured_s)
    each = world.between(1.2, 1.5) * 64 * MIB / expected
    without = max(kept_bytes(world, flow) for flow in world.workflows)
    world.script.prompt_bytes = round((each - without) / world.kept_factor)


def _thrash(world: World) -> None:
    """Three models of which one fits; nearly each prompt is of another workflow than the one before."""
    pace = world.between(0.6, 1.0)
    world.workflows = tuple(known_workflow(number, pace) for number in (2, 4, 5))
    world.switching = world.between(0.85, 1.0)


def _drift(world: World) -> None:
    growth, start, lasts = world.between(0.15, 0.25), world.measured_s, world.duration_s - world.measured_s
    world.script.speed.append(lambda _server, at, _flow: 1 + growth * max(at - start, 0) / lasts)


def _degrade(world: World) -> None:
    """From the first use on a model fits by half to 70 %, or decoding goes on in tiles."""
    flow = world.workflows[world.whole(0, len(world.workflows) - 1)]
    if world.random.random() < 0.7:
        world.script.partial[flow.model] = world.between(0.5, 0.7)
    else:
        world.script.tiled.add(flow.name)


MEMORY: Final = (
    Planting(Code.OOM, "1 or 2 prompts out of memory, the next success reloads its model", _oom,
             brings={Code.MODEL_THRASH: "models are loaded again after it"}),
    Planting(Code.OOM_STICKY, "1.15 to 1.5 times what the rule asks for: a tenth of the settled baseline, and 64 MiB",
             _oom_sticky,
             {"settle": (240.0, 30.0), "measured_s": 3600.0, **_RARELY},
             {Code.OOM: "it begins with one",
              Code.VRAM_LEAK: "the settled baseline is higher afterwards, and stays so"}),
    Planting(Code.VRAM_LEAK, "77 to 96 MiB in 2 h (least rise: 64 MiB), half of them with settles", _vram_leak,
             {"measured_s": LONG_S, **_RARELY}),
    Planting(Code.RAM_LEAK, "77 to 96 MiB in 2 h more than history could take (least rise: 64 MiB)", _ram_leak,
             {"measured_s": LONG_S, **_RARELY}),
    Planting(Code.HISTORY_BLOAT, "77 to 96 MiB in 2 h, 600 to 750 MiB in 10,000 prompts (rule: 64 and 512 MiB)",
             _history_bloat,
             {"measured_s": LONG_S, "load": lambda: wave(*_BLOATING, LONG_S / 3, is_open=True), "gpu": 3, **_RARELY}),
    Planting(Code.MODEL_THRASH, "0.85 to 1 load a prompt, of 3 models of which one fits (rule: near 1)", _thrash,
             {"gpu": 0, "load": lambda: steady(3.0)}),
    Planting(Code.LATENCY_DRIFT, "service time rises by 15 to 25 % over 2 h", _drift,
             {"measured_s": LONG_S, **_RARELY}),
    Planting(Code.SILENT_DEGRADE, "a model loaded by 50 to 70 %, or decoding in tiles", _degrade),
)  # fmt: skip

"""Leaks of 5 MiB an hour over 72 hours, sampled every 20 s to keep them small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.planted.drawing import wave
from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.world import GIB, MIB, Load, World
from comfysoak_core.codes import Code

HOURS: Final = 72
RATE: Final = 5 * MIB / 3600


def _vram(world: World) -> None:
    world.sawtooth_bytes = GIB // 4
    world.script.vram.append((0, lambda at: at * RATE))


def _vram_settled(world: World) -> None:
    world.settle = (5400.0, 30.0)
    _vram(world)


def _ram(world: World) -> None:
    world.script.rss.append((0, lambda at: at * RATE))


def _load() -> Load:
    """Day and night, at most a prompt in 20 s."""
    return wave(0.01, 0.05, 86_400.0, is_open=True)


def _leak(code: Code, size: str, put: Callable[[World], None]) -> Planting:
    fields = {
        "measured_s": HOURS * 3600.0,
        "warmup_s": 600.0,
        "gpu_every_s": 20.0,
        "every_s": 20.0,
        "load": _load,
        "gpu": 3,
    }
    return Planting(code, size, put, fields)


LEAKS: Final[dict[str, Planting]] = {
    "VRAM, with settles": _leak(Code.VRAM_LEAK, "5 MiB/h over 72 h, a settle each 90 min", _vram_settled),
    "VRAM, without": _leak(Code.VRAM_LEAK, "5 MiB/h over 72 h, sawtooth memory", _vram),
    "RAM": _leak(Code.RAM_LEAK, "5 MiB/h over 72 h, beside a history that fills", _ram),
}

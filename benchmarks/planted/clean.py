"""Clean runs: nothing is wrong, and much looks as if something were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from benchmarks.planted.drawing import capacity_per_s, draw, steady, wave
from benchmarks.planted.world import GIB, World

_RARELY: Final = {"gpu_every_s": 0.5, "every_s": 2.0}


def _sawtooth(seed: int) -> World:
    """GPU memory rises by what pictures leave behind, and falls when garbage is collected."""
    return draw(seed, "clean-sawtooth", sawtooth_bytes=GIB)


def _mix_shift(seed: int) -> World:
    """The mix moves from the quick workflows to the slow ones, or back."""
    world = draw(seed, "clean-mix-shift", measured_s=4800.0, load=steady(3.0), gpu=2, **_RARELY)
    count = len(world.workflows)
    back = bool(world.random.random() < 0.5)

    def mix(at: float) -> tuple[float, ...]:
        share = min(max((at - world.measured_s) / (world.duration_s - world.measured_s), 0.0), 1.0)
        share = 1 - share if back else share
        order = sorted(range(count), key=lambda number: world.workflows[number].service_s)
        return tuple(0.1 + (share if order.index(number) >= count / 2 else 1 - share) for number in range(count))

    world.mix = mix
    return world


def _day_and_night(seed: int) -> World:
    """Arrivals of day and night."""
    world = draw(seed, "clean-day-and-night", measured_s=7200.0, **_RARELY)
    capacity = capacity_per_s(world)
    world.load = wave(0.05 * capacity, world.between(0.5, 0.7) * capacity, 3600.0, is_open=True,
                      phase=world.between(0, 1))  # fmt: skip
    return world


def _warm_up(seed: int) -> World:
    """The first minutes are slow, beyond what the scenario calls warm-up."""
    world = draw(seed, "clean-warm-up")
    extra, fades = world.between(0.3, 0.8), world.between(60, 150)
    world.script.speed.append(lambda _server, at, _flow: 1 + extra * 2.718 ** (-at / fades))
    return world


def _noisy_neighbour(seed: int) -> World:
    """Somebody else on the host makes prompts 1.2 to 1.5 times as slow, now and then for half a minute to a minute."""
    world = draw(seed, "clean-noisy-neighbour")
    bursts = [
        (at, at + world.between(30, 60), world.between(1.2, 1.5)) for at in (world.moment(0.05, 0.95) for _ in range(5))
    ]

    def speed(_server: int, at: float, _flow: str) -> float:
        return max((factor for start, until, factor in bursts if start <= at < until), default=1.0)

    world.script.speed.append(speed)
    return world


def _dynamic_vram(seed: int) -> World:
    """Weights are staged: VRAM fills up and stays full."""
    return draw(seed, "clean-dynamic-vram", dynamic=True)


def _cache_fills(seed: int) -> World:
    """A cache of the server fills 0.5 to 2 GiB of RAM and gives way to pressure from then on."""
    world = draw(seed, "clean-cache-fills", measured_s=7200.0, load=steady(3.0), **_RARELY)
    world.cache_bytes, world.cache_s = int(world.between(0.5, 2) * GIB), world.between(300, 700)
    return world


def _short(seed: int) -> World:
    """Two to five minutes."""
    world = draw(seed, "clean-short", warmup_s=20.0)
    world.duration_s = world.measured_s + world.between(120, 300)
    return world


def _fleet(seed: int) -> World:
    """Two to four servers that differ by 5 % at most."""
    world = draw(seed, "clean-fleet", servers=2 + seed % 3)
    factors = [world.between(0.975, 1.025) for _ in world.machines]
    world.script.speed.append(lambda server, _at, _flow: factors[server])
    return world


def _power_cap(seed: int) -> World:
    """At full load the power limit is touched for moments: 1.5 % off the clocks, and no work lost."""
    return draw(seed, "clean-power-cap", power_cap=True)


def _settles(seed: int) -> World:
    """Memory is let go now and then, as the scenario wants it; models are loaded anew after each."""
    return draw(seed, "clean-settles", measured_s=5400.0, settle=(420.0, 30.0), sawtooth_bytes=GIB, **_RARELY)


CLEAN: Final[dict[str, Callable[[int], World]]] = {
    "sawtooth memory": _sawtooth,
    "mix shift": _mix_shift,
    "day and night": _day_and_night,
    "warm-up": _warm_up,
    "noisy neighbour": _noisy_neighbour,
    "dynamic VRAM": _dynamic_vram,
    "a cache that fills": _cache_fills,
    "short run": _short,
    "fleet": _fleet,
    "touches of the power limit": _power_cap,
    "settles": _settles,
}


def clean(number: int, seed: int) -> tuple[str, World]:
    """Clean run `number`: the kinds in turn."""
    kind = list(CLEAN)[number % len(CLEAN)]
    return kind, CLEAN[kind](seed)

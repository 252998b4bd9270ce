"""A planting: a code, how much of it there is, how it is put into a world, and what follows from it by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.planted.drawing import draw
from benchmarks.planted.world import World
from comfysoak_core.codes import Code

Put = Callable[[World], None]


@dataclass(frozen=True, slots=True)
class Planting:
    """`size`: what is planted, beside the rule's threshold where there is one.

    `put` writes it into a world, `world` are the world's fields it needs. `brings`: codes that a truthful analysis may
    tell as well, each with the reason; they are no false alarms.
    """

    code: Code
    size: str
    put: Put
    world: Mapping[str, Any] = field(default_factory=dict)
    brings: Mapping[Code, str] = field(default_factory=dict)
    alone: bool = False  # its world is not one that others can be planted into, too

    def drawn(self, seed: int) -> World:
        """A run with this, and nothing else, in it."""
        fields = {name: value() if callable(value) and name == "load" else value for name, value in self.world.items()}
        world = draw(seed, f"planted-{self.code.value.lower()}", **fields)
        self.put(world)
        return world

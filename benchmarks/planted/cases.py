"""The cases of the suite: which recording each is, and what has to be found in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.planted import leaks
from benchmarks.planted.clean import clean
from benchmarks.planted.drawing import draw
from benchmarks.planted.plantings.catalogue import PLANTINGS
from benchmarks.planted.seeds import OF_A_CODE, OF_CLEAN, OF_LEAKS, OF_PAIRS, seed_of
from benchmarks.planted.world import World
from comfysoak_core.codes import Code


@dataclass(frozen=True, slots=True)
class Case:
    """One recording. `group`: "code", "pair", "clean" or "leak"; `name`: of the row of the table it counts in."""

    group: str
    name: str
    number: int
    salt: str

    @property
    def label(self) -> str:
        """What its recording is called."""
        return f"{self.group}-{self.name}-{self.number}".replace(" ", "-").replace("+", "-")

    def seed(self, turn: int = 0) -> int:
        """Its seed; another one each time it is drawn again."""
        again = f"/{turn}" if turn else ""
        return seed_of(self.salt, f"{self.group}/{self.name}{again}", self.number)


@dataclass(frozen=True, slots=True)
class Planted:
    """A world, what must be found in it, and what may be."""

    world: World
    wanted: frozenset[Code]
    allowed: Mapping[Code, str]
    kind: str = ""


def planted(case: Case, turn: int = 0) -> Planted:
    """The world of a case, drawn for the first time or again."""
    seed = case.seed(turn)
    if case.group == "clean":
        kind, world = clean(case.number, seed)
        return Planted(world, frozenset(), {}, kind)
    if case.group == "leak":
        world = leaks.LEAKS[case.name].drawn(seed)
        one = leaks.LEAKS[case.name]
        return Planted(world, frozenset({one.code}), one.brings)
    if case.group == "pair":
        return _pair(seed)
    one = PLANTINGS[Code(case.name)]
    return Planted(one.drawn(seed), frozenset({one.code}), one.brings)


def _pair(seed: int) -> Planted:
    """Two plantings in one run, the longer run of the two; the seed draws which."""
    numbers = np.random.default_rng(seed)
    mixing = sorted(code for code, one in PLANTINGS.items() if not one.alone)
    first, second = (PLANTINGS[mixing[int(one)]] for one in numbers.choice(len(mixing), 2, replace=False))
    while set(first.world) & set(second.world) & {"load", "gpu", "workflows"}:  # each needs its own
        second = PLANTINGS[mixing[int(numbers.integers(len(mixing)))]]
        second = second if second is not first else PLANTINGS[Code.NODE_ERROR]
    fields: dict[str, Any] = {**first.world, **second.world}
    measured = [float(one.world["measured_s"]) for one in (first, second) if "measured_s" in one.world]
    if measured:
        fields["measured_s"] = max(measured)
    if callable(fields.get("load")):
        fields["load"] = fields["load"]()
    world = draw(seed, f"pair-{first.code.value.lower()}-{second.code.value.lower()}", **fields)
    for one in (first, second):
        one.put(world)
    return Planted(world, frozenset({first.code, second.code}), {**first.brings, **second.brings},
                   f"{first.code.value} + {second.code.value}")  # fmt: skip


def cases(salt: str, *, share: float = 1.0, only: frozenset[str] = frozenset()) -> Iterator[Case]:
    """All cases, or a share of each row (at least two); `only`: rows or groups of these names."""

    def some(count: int) -> int:
        return count if share >= 1 else max(2, round(count * share))

    rows = [("code", code.value, some(OF_A_CODE)) for code in PLANTINGS]
    rows += [("leak", name, some(OF_LEAKS)) for name in leaks.LEAKS]
    rows += [
        ("pair", "pairs", some(OF_PAIRS)),
        ("clean", "clean", some(OF_CLEAN) if share >= 1 else max(11, some(OF_CLEAN))),
    ]
    for group, name, count in rows:
        if not only or name in only or group in only:
            yield from (Case(group, name, number, salt) for number in range(count))

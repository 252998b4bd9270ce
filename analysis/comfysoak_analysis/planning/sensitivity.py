"""What the answer hangs on: one thing changed at a time, on the same replicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from comfysoak_analysis.planning.demand import NO_NAME
from comfysoak_analysis.planning.model import Model
from comfysoak_analysis.planning.search import Needed, Sizes, needed
from comfysoak_core.scenario.routing import Route

REPLICATES = 8
MORE = 1.1
SHIFT = 0.1  # of all prompts, to the workflow that takes longest


@dataclass(frozen=True, slots=True)
class Swing:
    """One change: the goal's statistic at the size that was needed before it, and the size that is needed with it."""

    name: str
    before_s: float
    value_s: float
    needed: Needed

    @property
    def change(self) -> float:
        """Of the statistic, as a share of what it was."""
        return self.value_s / self.before_s - 1 if self.before_s > 0 else 0.0


def swings(model: Model, gpus: int) -> tuple[Swing, ...]:
    """Each change, that with the largest effect first."""
    before_s = model.point(gpus, model.replicates[:REPLICATES]).value_s
    found = []
    for name, changed in _changes(model):
        sizes = Sizes(changed, changed.replicates[:REPLICATES])
        found.append(Swing(name, before_s, sizes[gpus].value_s, needed(sizes)))
    return tuple(sorted(found, key=lambda one: -abs(one.change)))


def _changes(model: Model) -> Iterator[tuple[str, Model]]:
    yield "service time +10 %", model.with_times(service=MORE)
    yield "demand +10 %", replace(model, demand=model.demand.grown(MORE))
    asked = [place for place, share in enumerate(model.shares) if share > 0]
    if len(asked) > 1:
        slowest = max(asked, key=lambda place: model.kinds[place].held.service_s.mean())
        yield f"{SHIFT * 100:.0f} % more of the prompts are {model.names[slowest]}", _shifted(model, slowest)
    if len({model.kinds[place].need for place in asked} - {-1}) > 1:
        yield "load times +10 %", model.with_times(loading=MORE)
    if model.demand.busiest_per_s > model.demand.per_s:
        yield "the busiest stretch of the demand", replace(model, demand=model.demand.at_its_busiest())
    for route in get_args(Route):
        if route != model.route:
            yield f"route {route}", replace(model, route=route)


def _shifted(model: Model, slowest: int) -> Model:
    """The same demand with more of the slowest; a trace's own workflows are drawn from the mix then."""
    mix = [share * (1 - SHIFT) + (SHIFT if place == slowest else 0.0) for place, share in enumerate(model.shares)]
    return replace(model, mix=tuple(mix), places=(NO_NAME,) * len(model.places))

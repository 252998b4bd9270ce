"""The plan itself: from what was measured and what is asked for to an answer with all that it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.frames import Run
from comfysoak_analysis.planning.check import Check, check
from comfysoak_analysis.planning.demand import NO_NAME, Demand
from comfysoak_analysis.planning.measured import Measured
from comfysoak_analysis.planning.model import Model, Point, Progress
from comfysoak_analysis.planning.price import Price
from comfysoak_analysis.planning.search import Needed, Sizes, needed
from comfysoak_analysis.planning.sensitivity import Swing, swings
from comfysoak_analysis.planning.wish import Wish
from comfysoak_analysis.text import bounded
from comfysoak_core.errors import ExitCode, UsageError
from comfysoak_core.scenario.routing import Route

AROUND = 3  # sizes beyond the needed ones that the chart shows


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `mix` by workflow, in any unit (empty: as measured); `growth` as a share."""

    wish: Wish
    demand: Demand
    route: Route
    mix: Mapping[str, float]
    growth: float = 0.0
    percentile: float = 95.0
    price: Price | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a thousand pictures, at the planned demand and at the mean one, without and with the spare."""

    price: Price
    pictures_a_prompt: float
    planned: float
    planned_with_spare: float
    mean: float
    mean_with_spare: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The plan. `cautions` are what weakens it; `why_not` says why no size of fleet meets the goal."""

    question: Question
    measured: Measured
    demand: Demand  # with growth
    shares: tuple[float, ...]
    floor_s: float
    needed: Needed | None  # None: the goal is below any size
    points: tuple[Point, ...]
    swings: tuple[Swing, ...]
    checks: tuple[Check, ...]
    cost: Cost | None
    why_not: str
    cautions: tuple[str, ...]
    too_little: bool  # measured for the answer to be relied on

    @property
    def gpus(self) -> int | None:
        """What the goal needs; None where no size does."""
        return self.needed.gpus if self.needed is not None else None

    @property
    def exit_code(self) -> ExitCode:
        """0 for an answer, 3 for one that rests on too little, 1 where no size meets the goal."""
        if self.gpus is None:
            return ExitCode.GOAL_MISSED
        return ExitCode.NOT_VALID if self.too_little else ExitCode.OK

    def point(self, gpus: int) -> Point:
        """The point of one size; KeyError where it was not simulated."""
        return {point.gpus: point for point in self.points}[gpus]

    def standing(self, gpus: int) -> str:
        """How far the model was checked at this size: in words, "model only" where it was not."""
        own_route = [one for one in self.checks if one.gpus == gpus and one.route == self.question.route]
        good = [one for one in own_route if one.is_good]
        if not good:
            return "model only"
        return "checked on simulated servers" if all(one.simulated for one in good) else "checked on real servers"


def answer(
    measured: Measured, question: Question, against: Sequence[Run] = (), cautions: Sequence[str] = (),
    progress: Progress = lambda _words: None,
) -> Answer:  # fmt: skip
    """Make the plan. UsageError for workflows that were not measured. `against`: runs to hold the model against."""
    from comfysoak_analysis.planning.cautions import little_measured, weaknesses

    model = model_of(measured, question, progress)
    runs = [source.run for source in measured.sources] + [
        run for run in against if all(run.path.resolve() != source.run.path.resolve() for source in measured.sources)
    ]
    checks = tuple(one for run in runs if (one := check(measured, run, question.wish)) is not None)
    floor_s, sizes, found = model.floor_s, Sizes(model), None
    if not question.wish.holds(floor_s):
        why_not = "even with no queue and all models loaded"
    else:
        found = needed(sizes)
        why_not = "" if found.gpus is not None else _why_not(model, found)
    points = tuple(sizes[gpus] for gpus in _shown(found, sizes)) if found is not None else ()
    gpus = found.gpus if found is not None else None
    little = little_measured(measured, model)
    return Answer(
        question=question,
        measured=measured,
        demand=model.demand,
        shares=model.shares,
        floor_s=floor_s,
        needed=found,
        points=points,
        swings=swings(model, gpus) if gpus is not None else (),
        checks=checks,
        cost=_cost(measured, model, question.price, gpus),
        why_not=why_not,
        cautions=(*cautions, *little, *weaknesses(measured, model, checks, points)),
        too_little=bool(little),
    )


def model_of(measured: Measured, question: Question, progress: Progress = lambda _words: None) -> Model:
    """The model that answers the question."""
    return Model(
        kinds=measured.kinds,
        names=measured.names,
        mix=_mix(measured, question.mix),
        demand=question.demand.grown(1 + question.growth),
        places=_places(measured, question),
        memory=measured.room.memory,
        handover_s=measured.handover_s,
        route=question.route,
        wish=question.wish,
        seed=question.seed,
        progress=progress,
    )


def _mix(measured: Measured, mix: Mapping[str, float]) -> tuple[float, ...]:
    unknown = [name for name in mix if name not in measured.names]
    if unknown:
        raise UsageError(f"the workflow {bounded(unknown[0], 60)!r} was not measured", _there_are(measured))
    if not mix:
        return tuple(one.share for one in measured.workflows)
    every = sum(mix.values())
    if every <= 0:
        raise UsageError("the mix is nothing at all", "Give shares such as --mix sdxl=3,flux=1.")
    return tuple(mix.get(name, 0.0) / every for name in measured.names)


def _places(measured: Measured, question: Question) -> tuple[int, ...]:
    """Where a trace's workflows are among the measured; a mix that was named decides instead of the trace."""
    if question.mix:
        return (NO_NAME,) * len(question.demand.workflows)
    unknown = [name for name in question.demand.workflows if name not in measured.names]
    if unknown:
        what = f"the trace asks for the workflow {bounded(unknown[0], 60)!r}, which was not measured"
        raise UsageError(what, f"{_there_are(measured)} With --mix the shares decide, and not the trace.")
    return tuple(measured.names.index(name) for name in question.demand.workflows)


def _there_are(measured: Measured) -> str:
    return f"There are: {', '.join(bounded(name, 60) for name in measured.names)}."


def _why_not(model: Model, found: Needed) -> str:
    if model.most_useful_gpus is not None:
        return (
            f"by models each is on one server only: more than {found.tried:,} GPUs change nothing; another route would"
        )
    return f"with up to {found.tried:,} GPUs"


def _shown(found: Needed, sizes: Sizes) -> range:
    first = (found.low or found.gpus or sizes.most) - 1
    last = max(found.high or 0, found.gpus or 0) + AROUND if found.gpus is not None else sizes.most
    return range(max(first, last - 12, 1), max(last, first) + 1)


def _cost(measured: Measured, model: Model, price: Price | None, gpus: int | None) -> Cost | None:
    if price is None or gpus is None:
        return None
    each = np.array([one.pictures for one in measured.workflows])
    asked = np.array(model.shares) > 0
    pictures = float(np.array(model.shares)[asked] @ each[asked])
    if math.isnan(pictures) or pictures <= 0:
        return None
    planned, mean = model.demand.per_s * pictures, model.demand.mean_per_s * pictures
    return Cost(price, pictures, *(price.of_1000(size, rate) for rate in (planned, mean) for size in (gpus, gpus + 1)))

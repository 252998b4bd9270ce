"""What weakens a plan, each in one sentence, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from comfysoak_analysis.planning.check import GOOD_SHARE, Check
from comfysoak_analysis.planning.measured import ENOUGH, FEWEST, FEWEST_LOADS, Measured, Workflow
from comfysoak_analysis.planning.model import Model, Point
from comfysoak_analysis.text import bounded
from comfysoak_core.scenario.goals import Unit
from comfysoak_core.scenario.quantities import format_ratio

RARE_LOADS = 0.005  # of the prompts: their time is in no percentile
EXPLAINED = 0.9
OTHER_TIMES = 0.05  # service times that differ by more are other ones


def little_measured(measured: Measured, model: Model) -> tuple[str, ...]:
    """Too little for the answer to be relied on, and how many prompts more it would take."""
    return tuple(
        f"Only {one.measured:,} prompts of {bounded(one.name, 60)} were measured with their models loaded: "
        f"about {FEWEST - one.measured:,} more are the least, {ENOUGH - one.measured:,} more would do."
        for one in _asked(measured, model)
        if one.measured < FEWEST
    )


def weaknesses(measured: Measured, model: Model, checks: Sequence[Check], points: Sequence[Point]) -> tuple[str, ...]:
    """All else."""
    return (*_loads(measured, model, points), *_room(measured, model), *_others(measured), *_missed(checks))


def _asked(measured: Measured, model: Model) -> list[Workflow]:
    return [one for one, share in zip(measured.workflows, model.shares, strict=True) if share > 0]


def _loads(measured: Measured, model: Model, points: Sequence[Point]) -> Iterator[str]:
    """Only where loads matter: some prompts of the simulated fleets had to load their models."""
    if max((point.load_share for point in points), default=0.0) < RARE_LOADS:
        return
    for one in _asked(measured, model):
        if one.kind.need < 0:
            continue
        name = bounded(one.name, 60)
        if not one.loads_seen:
            yield (
                f"No load of the models of {name} was seen, so changing to it costs nothing in this plan: "
                f"{FEWEST_LOADS} prompts of it, each after another workflow on the same server, would tell."
            )
        elif one.first_only:
            yield (
                f"Models of {name} were only seen loaded for the first time, when their file had to be read: "
                f"{FEWEST_LOADS} prompts of it after another workflow would tell what a change costs later."
            )
        elif one.loads_seen < FEWEST_LOADS:
            yield (
                f"Only {one.loads_seen} loads of the models of {name} were seen: "
                f"{FEWEST_LOADS - one.loads_seen} more would do."
            )


def _room(measured: Measured, model: Model) -> Iterator[str]:
    room, asked = measured.room, _asked(measured, model)
    if len({one.kind.need for one in asked} - {-1}) < 2:
        return
    if room.guessed:
        yield (
            f"No prompt came back to its models after others, so how many fit together is taken {room.guessed}: "
            "a run of the whole mix on one server would tell."
        )
    elif room.explained < EXPLAINED * room.cases:
        yield (
            f"When models are loaded again is told by what was used since for {room.explained:,} of {room.cases:,} "
            "prompts only: this server does not let go what was used longest ago."
        )


def _others(measured: Measured) -> Iterator[str]:
    if len(measured.gpus) > 1:
        names = ", ".join(bounded(name, 60) for name in measured.gpus)
        yield f"The recordings are of different GPUs ({names}): the plan is for a mixture of them."
    if measured.failed_share > 0:
        yield f"{format_ratio(measured.failed_share)} of the measured prompts failed; in the plan none does."


def _why(one: Check) -> str:
    """Where it lies with the servers and not with their queues."""
    if abs(one.ran_longer - 1) < OTHER_TIMES:
        return ""
    word = "longer" if one.ran_longer > 1 else "shorter"
    return (
        f" Its prompts ran {abs(one.ran_longer - 1):.0%} {word} than those of the plan: these servers share something, "
        "or are not like the ones that were measured."
    )


def _missed(checks: Sequence[Check]) -> Iterator[str]:
    for one in checks:
        if not one.is_good:
            yield (
                f"In {bounded(one.run, 60)} ({one.gpus:,} server{'' if one.gpus == 1 else 's'}) the model tells "
                f"{Unit.SECONDS.show(one.predicted_s)} where {Unit.SECONDS.show(one.measured_s)} were measured: "
                f"more than {GOOD_SHARE:.0%} off, so do not rely on it before you know why.{_why(one)}"
            )

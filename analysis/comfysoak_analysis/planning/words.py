"""A plan in words: its answer, its figures, its assumptions. Plain text; names in it came from outside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from comfysoak_analysis.planning.answer import Answer
from comfysoak_analysis.planning.check import GOOD_SHARE, Check
from comfysoak_analysis.planning.measured import Measured
from comfysoak_analysis.planning.search import Needed
from comfysoak_analysis.planning.sensitivity import SHIFT, Swing
from comfysoak_analysis.text import bounded
from comfysoak_analysis.tiles import number_text
from comfysoak_core.scenario.goals import Unit
from comfysoak_core.scenario.quantities import format_duration, format_size

ROUTES = {
    "shortest-queue": "to the server with the fewest prompts",
    "round-robin": "to each server in turn",
    "affinity": "by models, each on one server",
}
LONGEST_NAME = 60
HARDLY = 0.005  # a change that is none


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure with its name, and what is worth saying beside it."""

    name: str
    value: str
    note: str = ""


def gpus_text(count: int) -> str:
    """`1 GPU`, `3 GPUs`."""
    return f"{count:,} GPU{'' if count == 1 else 's'}"


def rate_text(per_s: float) -> str:
    """Prompts a minute, or an hour where those are few."""
    return f"{number_text(per_s * 60)}/min" if per_s * 60 >= 1 else f"{number_text(per_s * 3600)}/h"


def seconds(value: float) -> str:
    """A time of three digits; `—` for none."""
    return "—" if math.isnan(value) else format_duration(float(f"{value:.3g}"))


def headline(answer: Answer) -> str:
    """The answer itself."""
    if answer.gpus is None:
        return "No number of GPUs meets the goal" if answer.needed is None else "The goal cannot be met this way"
    return f"{gpus_text(answer.gpus)}, {answer.gpus + 1:,} with a spare"


def sentence(answer: Answer) -> str:
    """What the answer is to, and how sure it is."""
    goal, rate = bounded(answer.question.wish.goal.text, 120), rate_text(answer.demand.per_s)
    if answer.needed is None:
        return f"{bounded(goal)} fails {answer.why_not}: it is {seconds(answer.floor_s)} then."
    if answer.gpus is None:
        return f"{goal} at {rate} is not met {answer.why_not}."
    point = answer.point(answer.gpus)
    return (
        f"{goal} at {rate} holds with {gpus_text(answer.gpus)}: {seconds(point.value_s)} "
        f"({seconds(point.low_s)} to {seconds(point.high_s)} in 90 % of the replicates), "
        f"{point.utilisation:.0%} busy. {_sure(answer)}"
    )


def _sure(answer: Answer) -> str:
    found = answer.needed
    if found is None or found.gpus is None:
        return ""
    if found.high is None:
        return "No size tried holds in 95 % of the replicates."
    if found.low == found.high:
        return "90 % of the replicates need the same number."
    return f"90 % of the replicates need {found.low:,} to {found.high:,}."


def facts(answer: Answer) -> Iterator[Fact]:
    """The key figures."""
    found = answer.needed
    if found is not None and found.gpus is not None:
        point = answer.point(found.gpus)
        yield Fact("GPUs needed", f"{found.gpus:,}", _between(found))
        yield Fact("With one spare", f"{found.gpus + 1:,}", "the goal still holds when one is gone")
        yield Fact(_statistic(answer), seconds(point.value_s), f"goal: {_limit(answer)}")
        yield Fact("Busy", f"{point.utilisation:.0%}", answer.standing(found.gpus))
    yield Fact("Demand", rate_text(answer.demand.per_s), _demand(answer))
    yield scale_up(answer.measured)
    if answer.cost is not None:
        cost = answer.cost
        note = f"{cost.price.show(cost.planned_with_spare)} with the spare"
        if answer.demand.kind != "rate":
            note += (
                f"; at the mean demand {cost.price.show(cost.mean)}, {cost.price.show(cost.mean_with_spare)} with it"
            )
        yield Fact("1,000 pictures", cost.price.show(cost.planned), note)
    elif answer.question.price is not None and answer.gpus is not None:
        yield Fact("1,000 pictures", "—", "the recordings do not tell how many pictures a prompt makes")


def _between(found: Needed) -> str:
    if found.high is None:
        return f"{found.low or found.gpus:,} or more in 90 % of the replicates"
    between = "as many" if found.low == found.high else f"{found.low:,} to {found.high:,}"
    return f"{between} in 90 % of the replicates"


def _demand(answer: Answer) -> str:
    grown = f", with growth of {answer.question.growth:.0%}" if answer.question.growth else ""
    how = f"{answer.demand.stretches}; " if answer.demand.stretches else ""
    mean = f"mean {rate_text(answer.demand.mean_per_s)}, busiest {rate_text(answer.demand.busiest_per_s)}"
    return how + mean + grown if answer.demand.kind != "rate" else f"all the time{grown}"


def scale_up(measured: Measured) -> Fact:
    """How long another server takes to be of use."""
    if not measured.ready_s:
        return Fact("Another GPU takes", "unknown", "a cold_start stage in the recording would tell")
    note = f"ready after {_spread(measured.ready_s)}; median of {len(measured.ready_s)} cold starts"
    if measured.picture_s:
        return Fact("Another GPU takes", seconds(_median(measured.picture_s)), f"to its first picture; {note}")
    return Fact("Another GPU takes", seconds(_median(measured.ready_s)), f"to answer; {note}, no picture was asked for")


def _spread(values: tuple[float, ...]) -> str:
    low, high = seconds(values[0]), seconds(values[-1])
    return low if low == high else f"{low} to {high}"


def _median(values: tuple[float, ...]) -> float:
    return values[len(values) // 2] if len(values) % 2 else sum(values[len(values) // 2 - 1 : len(values) // 2 + 1]) / 2


def _statistic(answer: Answer) -> str:
    wish = answer.question.wish
    of = f" of {bounded(wish.workflow, LONGEST_NAME)}" if wish.workflow else ""
    return f"{wish.time.replace('_', ' ').capitalize()} {wish.statistic}{of}"


def _limit(answer: Answer) -> str:
    goal = answer.question.wish.goal
    return f"{'≤' if goal.comparison == '<=' else '<'} {Unit.SECONDS.show(goal.value)}"


def rows_of_sizes(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Of each size: GPUs, statistic, its interval, how often the goal was met, how busy, how far it was checked."""
    for point in answer.points:
        yield (
            f"{point.gpus:,}", seconds(point.value_s), f"{seconds(point.low_s)} to {seconds(point.high_s)}",
            f"{point.met_share:.0%}", f"{point.utilisation:.0%}", f"{point.load_share:.1%}",
            answer.standing(point.gpus),
        )  # fmt: skip


def header_of_sizes(answer: Answer) -> tuple[str, ...]:
    """Above `rows_of_sizes`."""
    return ("GPUs", _statistic(answer), "in 90 %", "Goal met", "Busy", "Loads", "Checked")


HEADER_OF_WORKFLOWS = ("Workflow", "Share", "Prompts", "Service p50", "p95", "With a load", "Loads", "Pictures")


def rows_of_workflows(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Of each workflow what was measured of it, and its share of the demand."""
    for one, share in zip(answer.measured.workflows, answer.shares, strict=True):
        times = sorted(one.kind.held.service_s.tolist())
        p50, p95 = (times[min(int(len(times) * part), len(times) - 1)] for part in (0.5, 0.95))
        loading = seconds(_median(tuple(sorted(one.kind.loading.service_s.tolist())))) if one.loads_seen else "—"
        pictures = "—" if math.isnan(one.pictures) else f"{one.pictures:.3g}"
        name = bounded(one.name, LONGEST_NAME)
        yield (name, f"{share:.0%}", f"{one.measured:,}", seconds(p50), seconds(p95), loading, f"{one.loads_seen:,}",
               pictures)  # fmt: skip


HEADER_OF_SWINGS = ("One thing changed", "Statistic", "Change", "GPUs needed")


def rows_of_swings(answer: Answer) -> Iterator[tuple[str, ...]]:
    """Of each change what it does."""
    for swing in answer.swings:
        yield (bounded(swing.name, 2 * LONGEST_NAME), seconds(swing.value_s), change_text(swing), needed_text(swing))


def change_text(swing: Swing) -> str:
    """`+12%`; as a multiple where it is large."""
    if abs(swing.change) < HARDLY:
        return "±0%"
    return f"{swing.change:+.0%}" if swing.change < 2 else f"{swing.change + 1:.1f} times"


def needed_text(swing: Swing) -> str:
    """The size that is needed with a change; that up to the largest tried none was enough."""
    return f"{swing.needed.gpus:,}" if swing.needed.gpus is not None else f"{swing.needed.tried:,} are not enough"


def checks_in_words(answer: Answer) -> tuple[str, ...]:
    """How the model did on runs that were measured; that there was none."""
    if not answer.checks:
        return ("Model only: no recording of open load (arrivals) was given that the model could be held against.",)
    return tuple(_check(one) for one in answer.checks)


def _check(one: Check) -> str:
    whose = "its own recording" if one.own else "a recording it was not made from"
    kind = "simulated" if one.simulated else "real"
    servers = f"{one.gpus:,} {kind} server{'' if one.gpus == 1 else 's'}"
    return (
        f"{bounded(one.run, LONGEST_NAME)}, {whose}, {servers}, {one.route}: {seconds(one.predicted_s)} predicted "
        f"({seconds(one.low_s)} to {seconds(one.high_s)}), {seconds(one.measured_s)} measured over {one.prompts:,} "
        f"prompts: {one.error:+.0%}{'' if one.is_good else f', beyond the {GOOD_SHARE:.0%} that are good enough'}."
    )


def assumptions(answer: Answer) -> Iterator[str]:
    """All that the answer takes for granted, in words."""
    measured, question = answer.measured, answer.question
    prompts = sum(one.measured for one in measured.workflows)
    runs = ", ".join(bounded(source.name, LONGEST_NAME) for source in measured.sources[:5])
    yield (
        f"Service times are {prompts:,} measured ones ({runs}), drawn again in blocks of those that followed each "
        "other. Nothing is fitted; what was never measured does not happen."
    )
    yield (
        "Every GPU is one server like the measured ones, shares nothing with the others (disk, network, CPU), and "
        f"runs one prompt at a time, first come, first served; {seconds(measured.handover_s)} pass between two."
    )
    yield f"A prompt goes {ROUTES[question.route]} ({question.route}), at the moment it is due."
    yield from _of_models(answer)
    if answer.demand.kind == "trace":
        yield "The prompts of the trace come when they came" + (
            ", its times squeezed by the growth." if question.growth else "."
        )
    else:
        yield "Prompts come at random moments (Poisson), whether or not others have ended."
    yield "Nobody gives up, no prompt fails, and no server is down: for that is the spare."
    if answer.swings:
        yield f"The changes are made one at a time, a change of mix by {SHIFT:.0%} of the prompts."


def _of_models(answer: Answer) -> Iterator[str]:
    measured = answer.measured
    asked = {one.kind.need for one, share in zip(measured.workflows, answer.shares, strict=True) if share > 0} - {-1}
    if not asked:
        yield "The workflows load no models."
        return
    if len(asked) == 1:
        yield "All workflows need the same models: each server loads them once."
        return
    memory, room = measured.room.memory, measured.room
    in_bytes = max(memory.sizes) > 1
    size = "all of them together" if math.isinf(memory.room) else _room_text(memory.room, in_bytes=in_bytes)
    how = (
        f"which explains {room.explained:,} of {room.cases:,} changes in the recordings"
        if room.cases
        else f"taken {room.guessed}"
    )
    yield (
        f"The workflows need {len(asked)} sets of models; a server holds {size} ({how}), loads what it does not hold, "
        "and lets go what was used longest ago."
    )


def _room_text(room: float, *, in_bytes: bool) -> str:
    return format_size(room) if in_bytes else f"{room:.0f} of them"

"""What recordings tell that a plan is made of: times by workflow and state of models, room for models, pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from comfysoak_analysis.cold_starts import cold_starts
from comfysoak_analysis.frames import Run
from comfysoak_analysis.model_loads import ModelLoad, model_loads
from comfysoak_analysis.planning.fleet import Kind
from comfysoak_analysis.planning.history import NO_MODELS, History, histories, models_of_run
from comfysoak_analysis.planning.memory import Room, Use, room, uses
from comfysoak_analysis.planning.pictures import pictures_by_workflow
from comfysoak_analysis.planning.times import joined
from comfysoak_core.errors import RecordingError

FEWEST = 30  # measured prompts of a workflow; fewer tell no percentile
ENOUGH = 200  # 10 of them over the 95th percentile
FEWEST_LOADS = 10


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow as it was measured.

    `loads_seen` counts the prompts that its time with loading rests on, which are none where `loading` is only taken
    for what `held` is; `first_only`: all of them were the first use of a model on a server.
    """

    name: str
    kind: Kind
    share: float  # of the measured prompts; their number, until all workflows are known
    pictures: float  # of one prompt; NaN: unknown
    loads_seen: int = 0
    first_only: bool = False

    @property
    def measured(self) -> int:
        """Prompts that ran with their models held."""
        return len(self.kind.held)


@dataclass(frozen=True, slots=True)
class Source:
    """One recording: its histories are kept for the check of the model on it."""

    run: Run
    histories: tuple[History, ...]

    @property
    def name(self) -> str:
        """The run's."""
        return self.run.recording.run.name


@dataclass(frozen=True, slots=True)
class Measured:
    """All that a plan knows of the servers."""

    workflows: tuple[Workflow, ...]
    room: Room
    handover_s: float
    failed_share: float  # of the measured prompts that did work
    ready_s: tuple[float, ...]  # cold starts, from process start to readiness
    picture_s: tuple[float, ...]  # and to the first picture
    sources: tuple[Source, ...] = field(repr=False)
    gpus: tuple[str, ...] = ()  # names of the GPUs it was measured on

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """For the simulation, by workflow."""
        return tuple(one.kind for one in self.workflows)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workflows."""
        return tuple(one.name for one in self.workflows)


def measure(runs: Sequence[Run]) -> Measured:
    """What these runs tell together. RecordingError when no prompt of theirs was measured."""
    loads = [model_loads(run) for run in runs]
    models: dict[str, str] = {}
    for run in runs:
        models |= models_of_run(run)
    workflows = sorted({str(name) for run in runs for name in run.prompts["workflow"].dropna().unique()})
    models = {name: models.get(name, name) for name in workflows}
    named = sorted({need for need in models.values() if not need.startswith(NO_MODELS)})
    needs = {name: named.index(need) if need in named else -1 for name, need in models.items()}
    sources = tuple(
        Source(run, tuple(histories(run, of_run, workflows, needs))) for run, of_run in zip(runs, loads, strict=True)
    )
    sizes = _sizes([load for part in loads for load in part], needs, len(named))
    of_servers = [history for source in sources for history in source.histories]
    told = bool(any(loads))
    used = [uses(history, sizes, loads_are_told=told) for history in of_servers]
    found = [
        _workflow(number, name, (needs[name], models[name]), of_servers, used) for number, name in enumerate(workflows)
    ]
    kept = [one for one in found if one.measured]
    every = sum(one.share for one in kept)
    if not every:  # none, or a warm-up alone
        raise RecordingError(
            "no prompt was measured that did work and succeeded, so there is no service time to plan with",
            "Record a run of the workflows you plan for: comfysoak run SCENARIO.",
        )
    pictures = pictures_by_workflow([run.recording for run in runs])
    return Measured(
        workflows=tuple(
            replace(one, share=one.share / every, pictures=pictures.get(one.name, math.nan)) for one in kept
        ),
        room=room(used, sizes, guess=_room_of_card(runs, sizes)),
        handover_s=_handover_s(of_servers),
        failed_share=_failed_share(runs),
        ready_s=_cold(runs, first_picture=False),
        picture_s=_cold(runs, first_picture=True),
        sources=sources,
        gpus=tuple(sorted({str(gpu.name) for run in runs for gpu in run.recording.run.gpus if gpu.name})),
    )


def _workflow(
    number: int, name: str, need: tuple[int, str], of_servers: Sequence[History], used: Sequence[Use]
) -> Workflow:
    held, loading, first, count = [], [], [], 0
    for history, use in zip(of_servers, used, strict=True):
        own = history.workflow == number
        count += int(np.count_nonzero(own & history.measured))
        held.append(history.times(own & history.measured & ~use.loaded))
        loading.append(history.times(own & history.usable & use.loaded & ~use.first))
        first.append(history.times(own & history.usable & use.loaded & use.first))
    seen, first_only = joined(loading), False
    if not len(seen):
        seen, first_only = joined(first), True
    rests_on = len(seen)
    kind = Kind(joined(held) if any(map(len, held)) else seen, seen if rests_on else joined(held), *need)
    return Workflow(name, kind, float(count), math.nan, rests_on, first_only and rests_on > 0)


def _sizes(loads: Iterable[ModelLoad], needs: Mapping[str, int], count: int) -> tuple[float, ...]:
    """Of each need all the models that were loaded for it; 1 each where one of them is not told."""
    of_need: list[dict[str, list[float]]] = [{} for _ in range(count)]
    for load in loads:
        need = needs.get(load.place.workflow, -1) if load.place is not None else -1
        if need >= 0 and load.size_bytes:
            of_need[need].setdefault(load.label, []).append(load.size_bytes)
    sizes = [sum(float(np.median(one)) for one in part.values()) for part in of_need]
    return tuple(sizes) if all(sizes) else (1.0,) * count


def _room_of_card(runs: Sequence[Run], sizes: Sequence[float]) -> float | None:
    """The memory of the card less what the work took beside the largest need, at its peak; None where not told."""
    if not sizes or max(sizes) <= 1:
        return None
    rooms = []
    for run in runs:
        for track in run.tracks("gpu", ("memory_used_bytes", "memory_total_bytes")).values():
            used, total = track["memory_used_bytes"].high, track["memory_total_bytes"].high
            if not np.isnan(used).all() and not np.isnan(total).all():
                rooms.append(float(np.nanmax(total)) - max(float(np.nanmax(used)) - max(sizes), 0.0))
    return min(rooms, default=None)


def _handover_s(of_servers: Sequence[History]) -> float:
    """The median: what takes longer had a prompt of somebody else's between."""
    gaps = [history.handovers_s for history in of_servers]
    every = np.concatenate(gaps) if gaps else np.zeros(0)
    return max(float(np.median(every)), 0.0) if len(every) else 0.0


def _failed_share(runs: Sequence[Run]) -> float:
    judged = sum(int((run.prompts["measured"] & run.prompts["work"]).sum()) for run in runs)
    failed = sum(int((run.prompts["measured"] & run.prompts["work"] & ~run.prompts["ok"]).sum()) for run in runs)
    return failed / judged if judged else 0.0


def _cold(runs: Sequence[Run], *, first_picture: bool) -> tuple[float, ...]:
    found = []
    for one in (start for run in runs for start in cold_starts(run)):
        at = min(one.pictures.values(), default=None) if first_picture else one.ready
        if at is not None:
            found.append(max(float((at - one.started).total_seconds()), 0.0))
    return tuple(sorted(found))

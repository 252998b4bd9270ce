"""The levels of a search for capacity, for readers: what each was, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from comfysoak_analysis import measures
from comfysoak_analysis.capacity import Capacity, Held
from comfysoak_analysis.frames import Run


@dataclass(frozen=True, slots=True)
class Level:
    """One trial; `standing` and `mark` say how it went, `share` is its throughput against the best one's."""

    name: str
    standing: str
    mark: str
    figures: measures.Group
    share: float
    why: str


@dataclass(frozen=True, slots=True)
class Levels:
    """One search: its result in a sentence, and its trials from the lowest level to the highest."""

    sentence: str
    trials: tuple[Level, ...]


def levels_of(run: Run) -> tuple[Levels, ...]:
    """The searches of a run."""
    groups = {group.name: group for group in measures.groups_by(run, "phase")} if run.capacities else {}
    return tuple(Levels(capacity.sentence, tuple(_levels(capacity, groups))) for capacity in run.capacities)


def _levels(capacity: Capacity, groups: dict[str, measures.Group]) -> Iterator[Level]:
    rates = [group.per_minute for group in groups.values() if group.per_minute > 0]
    best = max(rates, default=1.0)
    for trial in sorted(capacity.trials, key=lambda trial: (trial.level, trial.again)):
        group = groups.get(trial.phase)
        if group is None:
            continue
        share = group.per_minute / best if group.per_minute > 0 else 0.0
        name = capacity.told(trial.level) + (", again" if trial.again else "")
        yield Level(name, *_standing(trial), group, share, trial.why)


def _standing(trial: Held) -> tuple[str, str]:
    """The word, and the look of a goal that stands so."""
    if trial.held is None:
        return "not judged", "undecided"
    word = "held" if trial.held else "broke"
    return (word, "met" if trial.held else "missed") if trial.sure else (f"{word}, as seen", "undecided")

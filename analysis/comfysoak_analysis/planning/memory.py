"""How much a server can hold, by what had to be loaded again, and what did not.

A server lets go what was used longest ago. So whether a prompt's models are still there depends on how much was used
since they were used last: the room is where the loads begin. That is found from the recording, not computed from the
size of the card, of which nobody knows how much the work itself takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from comfysoak_analysis.planning.fleet import Memory
from comfysoak_analysis.planning.history import Flags, History
from comfysoak_analysis.statistics.series import Floats

ALWAYS_ROOM = float("inf")


@dataclass(frozen=True, slots=True)
class Use:
    """One server's uses of models, shape (n,) each.

    `reach` is what was used since a need was used last, itself included; infinity where it never was. `loaded`: more
    was loaded than this workflow loads when its models are there.
    """

    reach: Floats
    again: Flags  # the prompt before needed the same
    first: Flags
    loaded: Flags


@dataclass(frozen=True, slots=True)
class Room:
    """The room, and the cases it was told by: `explained` of `cases` prompts that followed another need."""

    memory: Memory
    cases: int
    explained: int
    guessed: str = ""  # how it was told where no case tells it


def uses(history: History, sizes: Sequence[float], *, loads_are_told: bool) -> Use:
    """How this server used its models. Where no load is told, each prompt after another need counts as loaded."""
    reach, first = _reach(history, sizes)
    again = np.zeros(len(history.need), dtype=bool)
    again[1:] = (history.need[1:] == history.need[:-1]) & ~first[1:]
    if not loads_are_told:
        return Use(reach, again, first, (history.need >= 0) & ~again)
    usual = np.zeros(len(history.need))
    for workflow in np.unique(history.workflow):
        chosen = history.workflow == workflow
        repeats = history.loads[chosen & again]
        usual[chosen] = np.floor(np.median(repeats)) if len(repeats) else 0.0
    return Use(reach, again, first, history.loads > usual)


def _reach(history: History, sizes: Sequence[float]) -> tuple[Floats, Flags]:
    reach, first = np.zeros(len(history.need)), np.zeros(len(history.need), dtype=bool)
    used: list[int] = []  # the latest last
    for place, need in enumerate(history.need.tolist()):
        if need < 0:
            continue
        first[place] = need not in used
        if first[place]:
            reach[place] = ALWAYS_ROOM
        else:
            reach[place] = sum(sizes[one] for one in used[used.index(need) :])
            used.remove(need)
        used.append(need)
    return reach, first


def room(found: Iterable[Use], sizes: Sequence[float], *, guess: float | None) -> Room:
    """The room that explains most loads. `guess`: what to go by where no prompt came back to models after others."""
    told = [use for use in found if len(use.reach)]
    back = [~use.again & ~use.first & (use.reach > 0) for use in told]
    reach = np.concatenate([use.reach[chosen] for use, chosen in zip(told, back, strict=True)] or [np.zeros(0)])
    loaded = np.concatenate([use.loaded[chosen] for use, chosen in zip(told, back, strict=True)] or [np.zeros(0, bool)])
    if not len(reach):
        return _guessed(sizes, guess)
    cuts = [max(sizes, default=0.0), *np.unique(reach).tolist()]
    right = [int(np.count_nonzero((reach > cut) == loaded)) for cut in cuts]
    best = max(range(len(cuts)), key=lambda place: (right[place], cuts[place]))
    limit = ALWAYS_ROOM if best == len(cuts) - 1 and len(cuts) > 1 else cuts[best]
    return Room(Memory(tuple(sizes), limit), len(reach), right[best])


def _guessed(sizes: Sequence[float], guess: float | None) -> Room:
    if len(sizes) <= 1 or (guess is not None and guess >= sum(sizes)):
        return Room(Memory(tuple(sizes), ALWAYS_ROOM), 0, 0, "by the size of the card" if len(sizes) > 1 else "")
    if guess is not None:
        return Room(Memory(tuple(sizes), guess), 0, 0, "by the size of the card")
    return Room(Memory(tuple(sizes), max(sizes)), 0, 0, "one at a time, to be on the safe side")

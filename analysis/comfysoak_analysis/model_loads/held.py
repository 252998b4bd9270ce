"""Which models a server held over time.

Certain are loads, and that all is gone: by running out of memory, POST /free, a start of the server. A server that
makes room says nothing in most cases. It takes what is offloaded most first, then what fewest hold on to, then the
smallest: nothing of this is in a log. So what must have left is found from the other side: a model that is loaded again
had left before. Where one call of loading lies between, it left then; where several do, it is `perhaps` from the first.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from comfysoak_analysis.model_loads.load import ModelLoad

_UNLOADED = re.compile(r"([0-9]{1,6}) models unloaded")

Moments = np.ndarray[Any, np.dtype[np.datetime64]]


@dataclass(frozen=True, slots=True)
class Held:
    """What is held, the latest last: `sure` and `perhaps` are loaded, `staged` moves as needed (dynamic VRAM)."""

    sure: tuple[str, ...] = ()
    perhaps: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sure or self.perhaps or self.staged)

    def without(self, name: str) -> Held:
        """The same less one model."""
        return Held(*(tuple(one for one in part if one != name) for part in (self.sure, self.perhaps, self.staged)))

    def with_load(self, load: ModelLoad) -> Held:
        """And the one that has been loaded."""
        rest, name = self.without(load.label), (load.label,)
        if load.staged:
            return Held(rest.sure, rest.perhaps, rest.staged + name)
        return Held(rest.sure + name, rest.perhaps, rest.staged)

    def doubted(self, name: str) -> Held:
        """One of the sure ones may be gone."""
        if name not in self.sure:
            return self
        rest = self.without(name)
        return Held(rest.sure, (*rest.perhaps, name), rest.staged)


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """What one server held, from each moment on."""

    moments: Moments
    sets: tuple[Held, ...]

    def at(self, moment: np.datetime64, back: np.timedelta64) -> Held:
        """What was held at `moment`; where that is nothing, what was unloaded no longer than `back` before.

        What runs out of memory unloads everything: the question is what was there until then.
        """
        index = int(np.searchsorted(self.moments, moment, side="right")) - 1
        while index > 0 and not self.sets[index] and moment - self.moments[index] <= back:
            index -= 1
        return self.sets[index] if index >= 0 else Held()


@dataclass(frozen=True, slots=True)
class _Change:
    at: pd.Timestamp
    loaded: ModelLoad | None = None
    left: str | None = None
    doubted: str | None = None
    unloaded: int | None = None  # so many, and nobody says which; 0: all


def loaded_models(loads: Sequence[ModelLoad], log: pd.DataFrame, fresh: Sequence[pd.Timestamp]) -> LoadedModels:
    """By the loads of one server, its log, and when all that it held was gone."""
    changes = [_Change(load.known_until, loaded=load) for load in loads]
    changes += [_Change(at, unloaded=0) for at in fresh]
    changes += _departures(loads, fresh)
    rows = log[log["kind"] == "model_unloaded"]
    for at, text in zip(rows["at"], rows["text"], strict=True):
        count = _UNLOADED.match(str(text))
        changes += [_Change(at, unloaded=int(count[1]))] if count is not None and int(count[1]) else []
    held, moments, sets = Held(), [], []
    for change in sorted(changes, key=lambda one: (one.at, one.loaded is not None)):
        held = _after(held, change)
        moments.append(change.at.to_datetime64())
        sets.append(held)
    return LoadedModels(np.array(moments, dtype="datetime64[ns]"), tuple(sets))


def _after(held: Held, change: _Change) -> Held:
    if change.loaded is not None:
        return held.with_load(change.loaded)
    if change.left is not None:
        return held.without(change.left)
    if change.doubted is not None:
        return held.doubted(change.doubted)
    count = change.unloaded or 0
    if count == 0 or count >= len(held.sure) + len(held.perhaps) + len(held.staged):
        return Held()
    for name in held.sure:  # some of them: which, the server does not say
        held = held.doubted(name)
    return held


def _departures(loads: Sequence[ModelLoad], fresh: Sequence[pd.Timestamp]) -> Iterator[_Change]:
    """When a model that is loaded again had left: at the one load between, or at some of several."""
    last: dict[str, int] = {}
    for index, load in enumerate(loads):
        before = last.get(load.label)
        last[load.label] = index
        if before is None or bisect(fresh, loads[before].known_until) != bisect(fresh, load.started):
            continue
        others = [one.started for one in loads[before + 1 : index] if one.label != load.label]
        between = {at for at in others if at > loads[before].known_until}  # others of its own batch made no room
        if between:
            first = min(between)
            yield _Change(first, left=load.label) if len(between) == 1 else _Change(first, doubted=load.label)
            yield _Change(load.started, left=load.label)

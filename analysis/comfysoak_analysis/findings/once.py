"""What several detectors ask of a run is worked out once a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from comfysoak_analysis.frames import Run

P = ParamSpec("P")
T = TypeVar("T")


def once(find: Callable[Concatenate[Run, P], T]) -> Callable[Concatenate[Run, P], T]:
    """`find`, which remembers its answer for as long as the run lives; what it is given beside the run is the run's."""
    known: WeakKeyDictionary[Run, T] = WeakKeyDictionary()

    def ask(run: Run, /, *more: P.args, **named: P.kwargs) -> T:
        if run not in known:
            known[run] = find(run, *more, **named)
        return known[run]

    update_wrapper(ask, find)
    return ask

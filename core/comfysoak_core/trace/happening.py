"""A prompt that somebody sent, as a source of traces tells of it, and how it is written into a trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from comfysoak_core.trace.order import in_order
from comfysoak_core.value import value

MOST_OF_ONE_SECOND: Final = 100_000  # so many are spread together over the second they came in


@value()
class Happening:
    """One prompt. `time_s` counts from 1970; `is_whole` when its source tells whole seconds only."""

    time_s: float
    workflow: str | None = None
    inputs: Mapping[str, Any] | None = None
    client: str | None = None
    is_whole: bool = False
    size_bytes: int = 200


def as_trace(happenings: Iterable[Happening], *, window: int) -> Iterator[bytes]:
    """The lines of a trace, in order of time, from the first prompt on.

    What came within one second of a source that tells no fractions is spread evenly over it: as a burst it would be
    another load. Raises TooLateError for what is out of place by more than `window`.
    """
    first_s: float | None = None
    for happening in spread(in_order(happenings, window)):
        first_s = happening.time_s if first_s is None else first_s
        line: dict[str, Any] = {"time": round(happening.time_s - first_s, 6)}
        line |= {"workflow": happening.workflow} if happening.workflow is not None else {}
        line |= {"inputs": happening.inputs} if happening.inputs else {}
        line |= {"client": happening.client} if happening.client is not None else {}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def spread(happenings: Iterable[Happening]) -> Iterator[Happening]:
    """Those of one whole second, evenly over it; all others as they are."""
    together: list[Happening] = []
    for happening in happenings:
        if together and (happening.time_s != together[0].time_s or len(together) >= MOST_OF_ONE_SECOND):
            yield from _spread(together)
            together = []
        if happening.is_whole:
            together.append(happening)
        else:
            yield happening
    yield from _spread(together)


def _spread(together: list[Happening]) -> Iterator[Happening]:
    for number, happening in enumerate(together):
        yield Happening(
            happening.time_s + number / len(together), happening.workflow, happening.inputs, happening.client
        )

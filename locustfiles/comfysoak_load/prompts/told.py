"""What Locust is told of a prompt, however it was sent: names and errors from bounded sets, as its statistics grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfysoak_core.codes import Code
from comfysoak_core.rows import Outcome, Prompt

Fire = Callable[..., None]  # Locust's `events.request.fire`


class LoadError(Exception):
    """What Locust's statistics count."""


def fire_of(environment: Any) -> Fire:
    """Locust's one seam, with the names its statistics show."""

    def fire(kind: str, name: str, milliseconds: float, size_bytes: int, error: Exception | None) -> None:
        environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=milliseconds,
            response_length=size_bytes,
            exception=error,
            context={},
        )

    return fire


def error_of(row: Prompt) -> LoadError | None:
    """What went wrong with it; None when it ended as expected."""
    if row.outcome == row.expected or (row.outcome == Outcome.CACHED and row.expected == Outcome.SUCCESS):
        return None
    return LoadError(f"{row.outcome} {row.code or ''}".strip())


def tell_fetch(fire: Fire, row: Prompt, fetch_ms: float | None, error: LoadError | None) -> None:
    """Its outputs were fetched in so long; None: they were not."""
    if fetch_ms is not None:
        wrong = row.code in {Code.OUTPUT_MISSING, Code.OUTPUT_WRONG}
        fire("fetch", row.workflow, fetch_ms, row.output_bytes or 0, error if wrong else None)

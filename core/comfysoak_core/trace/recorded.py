"""What a recording of ours tells of the prompts it sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.recording import Recording
from comfysoak_core.rows import Role
from comfysoak_core.trace.happening import Happening

COLUMNS: Final = ("scheduled_ns", "workflow", "variation", "client_id", "role")


def happenings_of(
    recording: Recording, *, with_inputs: bool, with_identities: bool, progress: Callable[[int], None]
) -> Iterator[Happening]:
    """Every intended prompt of the load, sent or not, when it was due; nearly in order of time."""
    count = 0
    for batch in recording.stream("prompts", columns=COLUMNS):
        for row in batch.to_pylist():
            if row["role"] == Role.CANARY.value:
                continue
            inputs = _inputs(row["variation"]) if with_inputs else None
            client = (row["client_id"] or None) if with_identities else None
            size_bytes = 200 + (len(row["variation"]) if inputs else 0)
            yield Happening(row["scheduled_ns"] / NS_PER_S, row["workflow"], inputs, client, size_bytes=size_bytes)
        count += batch.num_rows
        progress(count)


def _inputs(variation: str | None) -> dict[str, Any] | None:
    found = orjson.loads(variation or "{}")
    return found if isinstance(found, dict) else None

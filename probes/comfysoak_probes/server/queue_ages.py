"""For how long prompts have waited and run, as far as their first sight in /queue tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from comfysoak_core.comfyui.answers import Queue

PROMPTS_MOST = 10_000  # remembered, the next to run first
ID_CHARACTERS = 200


@dataclass(slots=True)
class QueueAges:
    """When each prompt that is in the queue now was first seen there.

    An age is a lower bound, short by at most the time between two readings: a prompt may have come just after the
    one before. What has left the queue is forgotten.
    """

    _running: dict[str, int] = field(default_factory=dict)
    _pending: dict[str, int] = field(default_factory=dict)

    def saw(self, queue: Queue, at_ns: int) -> tuple[int | None, int | None]:
        """Age of what runs, and of what has waited longest (ns); None where nothing does."""
        self._running = _first_seen(self._running, queue.running, at_ns)
        self._pending = _first_seen(self._pending, queue.pending, at_ns)
        return _oldest(self._running, at_ns), _oldest(self._pending, at_ns)

    def forget(self) -> None:
        """The server was started again: what it has now is new."""
        self._running, self._pending = {}, {}


def _first_seen(before: dict[str, int], ids: Iterable[str], at_ns: int) -> dict[str, int]:
    now: dict[str, int] = {}
    for prompt_id in ids:
        if len(now) == PROMPTS_MOST:
            break
        key = prompt_id[:ID_CHARACTERS]
        now[key] = before.get(key, at_ns)
    return now


def _oldest(seen: dict[str, int], at_ns: int) -> int | None:
    return max(0, at_ns - min(seen.values())) if seen else None

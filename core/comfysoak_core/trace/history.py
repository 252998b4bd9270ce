"""What a server's history tells of the prompts it was sent.

Read in pages: one answer with all of a long history keeps a server's event loop busy for seconds, and all its users
wait. GET /api/jobs tells no more than that and has no graphs, so it is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import history_entry
from comfysoak_core.comfyui.json_text import number_or_none, text_or_none
from comfysoak_core.comfyui.shape import graph_or_none
from comfysoak_core.errors import TargetError
from comfysoak_core.trace.graphs import Workflows, inputs_of
from comfysoak_core.trace.happening import Happening

PAGE: Final = 20
MOST_ENTRIES: Final = 100_000  # a server keeps ten thousand; one that never comes to an end is none
_MS_PER_S: Final = 1000.0


@dataclass(slots=True)
class HistoryReading:
    """Makes happenings of history entries, and counts what they did not tell."""

    with_inputs: bool
    with_identities: bool
    workflows: Workflows = field(default_factory=Workflows)
    by_start: int = 0  # entries that tell when they started, not when they came: servers before 2026
    unread: int = 0

    def happening(self, prompt_id: str, entry: object) -> Happening | None:
        """The prompt of one entry; None, and counted, for one that cannot be read."""
        try:
            found = self._found(prompt_id, entry)
        except (TypeError, RecursionError):  # numbers and depths that no JSON of ours holds
            found = None
        self.unread += found is None
        return found

    def _found(self, prompt_id: str, entry: object) -> Happening | None:
        item = entry.get("prompt") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(item, list) or len(item) < 4:
            return None
        graph, time_s = graph_or_none(item[2]), self._time_s(prompt_id, entry, item)
        if graph is None or time_s is None:
            return None
        known = self.workflows.know(graph)
        inputs = inputs_of(graph, known.ids) if self.with_inputs else None
        client = text_or_none(_extra(item).get("client_id")) if self.with_identities else None
        size_bytes = 200 + (len(orjson.dumps({"inputs": inputs})) if inputs else 0)  # TypeError: nested too deeply
        return Happening(time_s, known.name, inputs, client, size_bytes=size_bytes)

    def _time_s(self, prompt_id: str, entry: Mapping[str, Any], item: list[Any]) -> float | None:
        created_ms = number_or_none(_extra(item).get("create_time"))
        if created_ms is not None:
            return created_ms / _MS_PER_S
        started_ms = history_entry(prompt_id, entry).started_ms
        if started_ms is None:
            return None
        self.by_start += 1
        return started_ms / _MS_PER_S


def _extra(item: list[Any]) -> Mapping[str, Any]:
    return item[3] if isinstance(item[3], dict) else {}


def entries_of(client: ComfyClient, progress: Callable[[int], None]) -> Iterator[tuple[str, object]]:
    """Every entry of a server's history once, oldest first; TargetError when it gives none.

    `progress` is told how many it were so far.
    """
    known: set[str] = set()
    offset = 0
    while len(known) < MOST_ENTRIES:
        page = _page(client, offset, PAGE)
        new = [prompt_id for prompt_id in page if prompt_id not in known]
        if not new:
            return
        known.update(new)
        offset += len(page)
        progress(len(known))
        yield from ((prompt_id, page[prompt_id]) for prompt_id in new)


def _page(client: ComfyClient, offset: int, entries: int) -> Mapping[str, object]:
    """So many entries, or the next one alone where so many are too large or take too long."""
    try:
        found = client.get_json(f"/history?max_items={entries}&offset={offset}")
    except TargetError:
        if entries == 1:
            raise
        return _page(client, offset, 1)
    if not isinstance(found, dict):
        raise TargetError(f"{client.base_url}/history is no history", "Is this address a ComfyUI?")
    return found

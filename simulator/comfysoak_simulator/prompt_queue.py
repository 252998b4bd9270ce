"""The queue of prompts and the history of those that ran, as ComfyUI holds them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

Json = Any
MOST_HISTORY = 10_000
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SECRET_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")


def is_canonical_uuid(value: Json) -> TypeGuard[str]:
    """Whether it is the one form of a prompt id that 0.33 takes."""
    return isinstance(value, str) and _CANONICAL_UUID.fullmatch(value) is not None


class Item(NamedTuple):
    """One prompt in the queue; compared by number and id, and by no more (two equal ones cannot be compared)."""

    number: float
    prompt_id: str
    prompt: dict[str, Json]
    extra_data: dict[str, Json]
    outputs: list[str]

    @property
    def client_id(self) -> str | None:
        """Who hears of it; None: nobody in particular."""
        client = self.extra_data.get("client_id")
        return None if client is None else str(client)

    def as_json(self) -> list[Json]:
        """As /queue and history show it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class PromptQueue:
    """Pending prompts as a heap, the running one, and history; `changed` is called when the length changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.pending: list[Item] = []
        self.running: Item | None = None
        self.history: dict[str, dict[str, Json]] = {}
        self._changed = changed

    @property
    def remaining(self) -> int:
        """Pending and running ones together."""
        return len(self.pending) + (self.running is not None)

    def put(self, item: Item) -> None:
        """Add a prompt. TypeError when number and id are those of a pending one; it is in the queue all the same."""
        heapq.heappush(self.pending, item)
        self._changed()

    def take(self) -> Item | None:
        """Make the first pending prompt the running one; None when there is none."""
        if not self.pending:
            return None
        self.running = heapq.heappop(self.pending)
        self._changed()
        return self.running

    def done(self, entry: dict[str, Json]) -> None:
        """The running prompt has ended; `entry` is what history says of it besides the prompt."""
        item = self.running
        if item is None:
            return
        self.running = None
        if len(self.history) > MOST_HISTORY:
            del self.history[next(iter(self.history))]
        for key in SECRET_KEYS:
            item.extra_data.pop(key, None)
        self.history[item.prompt_id] = {"prompt": item.as_json(), **entry}
        self._changed()

    def clear(self) -> None:
        """Drop all pending prompts."""
        self.pending = []
        self._changed()

    def delete(self, prompt_id: Json) -> bool:
        """Drop the first pending prompt of this id; whether there was one. The last one is told of twice."""
        for index, item in enumerate(self.pending):
            if item.prompt_id == prompt_id:
                if len(self.pending) == 1:
                    self.clear()
                else:
                    self.pending.pop(index)
                    heapq.heapify(self.pending)
                self._changed()
                return True
        return False

    def history_of(self, prompt_id: str) -> dict[str, Json]:
        """`{id: entry}`, or empty when it has not ended or is not known."""
        entry = self.history.get(prompt_id)
        return {} if entry is None else {prompt_id: entry}

    def history_page(self, max_items: int | None, offset: int) -> dict[str, Json]:
        """Entries oldest first; a negative `offset` with `max_items` gives the newest."""
        if offset < 0 and max_items is not None:
            offset = len(self.history) - max_items
        page: dict[str, Json] = {}
        for index, (prompt_id, entry) in enumerate(self.history.items()):
            if index < offset:
                continue
            page[prompt_id] = entry
            if max_items is not None and len(page) >= max_items:
                break
        return page

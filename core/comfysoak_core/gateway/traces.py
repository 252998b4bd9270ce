"""What a ComfyUI shows of the prompts a gateway sent it. Nothing here raises.

A gateway does not tell the id it was given. A prompt of ours is known by its text: among the inputs of a graph that
was not there before the request was sent.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.answers import Damaged, object_of
from comfysoak_core.comfyui.ending import did_no_work
from comfysoak_core.comfyui.history import HistoryEntry, history_entry
from comfysoak_core.comfyui.json_text import bounded, number_or_none
from comfysoak_core.comfyui.shape import GraphShape, graph_or_none

MAX_KNOWN: Final = 4096
MAX_SIGHTED: Final = 512  # with their graphs


@dataclass(frozen=True, slots=True)
class Trace:
    """One prompt in /queue or /history, with its graph as it came. `entry`: how it ended; None: it waits or runs."""

    prompt_id: str
    number: float
    graph: Mapping[str, Any]
    runs: bool = False
    entry: HistoryEntry | None = None

    def has_text(self, text: str) -> bool:
        """Whether some input of the graph is this text."""
        nodes = (node.get("inputs") for node in self.graph.values() if isinstance(node, dict))
        return any(value == text for inputs in nodes if isinstance(inputs, dict) for value in inputs.values())

    @property
    def node_count(self) -> int:
        """How many nodes its graph has."""
        return len(self.graph)

    @property
    def was_cached(self) -> bool:
        """Whether it did no work: all that would have worked came from the server's cache."""
        cached = frozenset(self.entry.cached or ()) if self.entry is not None else frozenset()
        graph = graph_or_none(self.graph) if cached else None
        return graph is not None and did_no_work(GraphShape.of(graph), cached, set(), heard_all=False)


def parse_history_page(status: int, body: bytes) -> tuple[Trace, ...] | Damaged:
    """The answer to GET /history."""
    document = object_of(status, body)
    if isinstance(document, Damaged):
        return document
    return tuple(_ended(document))


def parse_queue_page(status: int, body: bytes) -> tuple[Trace, ...] | Damaged:
    """The answer to GET /queue, with the graphs."""
    document = object_of(status, body)
    if isinstance(document, Damaged):
        return document
    running, pending = document.get("queue_running"), document.get("queue_pending")
    return (*_waiting(running, runs=True), *_waiting(pending, runs=False))


def _ended(document: Mapping[str, Any]) -> Iterator[Trace]:
    for prompt_id, entry in document.items():
        item = entry.get("prompt") if isinstance(entry, dict) else None
        for trace in _waiting([item], runs=False):
            yield Trace(bounded(prompt_id, 200), trace.number, trace.graph, entry=history_entry(prompt_id, entry))


def _waiting(items: object, *, runs: bool) -> Iterator[Trace]:
    """The items of a queue: `[number, id, graph, ...]`."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, list) and len(item) >= 3 and isinstance(item[1], str) and isinstance(item[2], dict):
            yield Trace(bounded(item[1], 200), number_or_none(item[0]) or 0.0, item[2], runs=runs)


class Ledger:
    """Since when each prompt of one ComfyUI is known, and which are somebody's already. Bounded."""

    def __init__(self) -> None:
        self._first_seen: OrderedDict[str, int] = OrderedDict()
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._sighted: OrderedDict[str, Trace] = OrderedDict()  # in the queue when last looked, or since gone from it

    def note(self, traces: Iterable[Trace], at_ns: int) -> None:
        """These are there at `at_ns`."""
        for trace in traces:
            self._first_seen.setdefault(trace.prompt_id, at_ns)
            _keep(self._first_seen)
            if trace.entry is None:
                self._sighted[trace.prompt_id] = trace
                _keep(self._sighted, MAX_SIGHTED)
            else:
                self._sighted.pop(trace.prompt_id, None)

    def take(self, traces: Iterable[Trace], text: str, since_ns: int, *, succeeded: bool) -> Trace | None:
        """The prompt with this text that came after `since_ns` and is nobody's yet; it is taken then.

        Several: one that has ended before one that has not, one that ended as the answer says before one that did
        not, the oldest of those.
        """
        found = [trace for trace in traces if self._may_be(trace, text, since_ns)]
        if not found:
            return None
        best = min(found, key=lambda trace: (trace.entry is None, _contradicts(trace, succeeded), trace.number))
        self._taken[best.prompt_id] = None
        _keep(self._taken)
        return best

    def give_back(self, trace: Trace) -> None:
        """It was taken, and is nobody's after all."""
        self._taken.pop(trace.prompt_id, None)

    def gone(self, traces: Iterable[Trace], text: str, since_ns: int) -> bool:
        """Whether such a prompt had been seen in the queue and is nowhere among `traces`, which are all there is."""
        there = {trace.prompt_id for trace in traces}
        return any(
            prompt_id not in there and self._may_be(trace, text, since_ns) for prompt_id, trace in self._sighted.items()
        )

    def _may_be(self, trace: Trace, text: str, since_ns: int) -> bool:
        first_seen_ns = self._first_seen.get(trace.prompt_id, since_ns)
        return first_seen_ns >= since_ns and trace.prompt_id not in self._taken and trace.has_text(text)


def _contradicts(trace: Trace, succeeded: bool) -> bool:  # noqa: FBT001  # the second half of a sort key
    return trace.entry is not None and trace.entry.succeeded is not succeeded


def _keep(known: OrderedDict[str, Any], most: int = MAX_KNOWN) -> None:
    if len(known) > most:
        known.popitem(last=False)

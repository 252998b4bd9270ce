"""The ComfyUI behind the gateway: what it has of our prompts, known by a mark in their text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from comfysoak.check.checking import Checking
from comfysoak.check.conversation.access import Access
from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.history import OutputFile
from comfysoak_core.comfyui.transport import Transport
from comfysoak_core.errors import TargetError
from comfysoak_core.gateway.sighting import Sighting, Whereabouts, sighting_of
from comfysoak_core.gateway.traces import Trace, parse_history_page, parse_queue_page

TIMEOUT_S: Final = 5.0
SETTLE_S: Final = 5.0  # a node that does not look whether it is interrupted runs on
_SETTLE_EVERY_S: Final = 0.05
_ENTRIES: Final = 64  # of /history: what may have ended since the check began
_PAGE_BYTES: Final = 256 * 1024 * 1024


class Behind:
    """One ComfyUI, asked in the ways that change nothing, except that our own prompts are taken out of its history."""

    def __init__(self, access: Access) -> None:
        self.url = access.base_url
        self._access = access
        self._transport = Transport(self.url, timeout_s=TIMEOUT_S, headers=access.headers)
        self._traces: tuple[Trace, ...] = ()
        self.ours: dict[str, Trace] = {}  # by id, as last seen
        self._seen: set[str] = set()  # marks that were found in it
        self.before = frozenset(trace.prompt_id for trace in self._look() or ())

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def sight(self, mark: str) -> Sighting:
        """Where the prompt with this mark is."""
        traces = self._look()
        if traces is None:
            return Sighting(silent=(self.url,))
        found = [trace for trace in traces if holds(trace.graph, mark)]
        best = min(found, key=lambda trace: (trace.entry is None, trace.number), default=None)
        if best is not None:
            self._seen.add(mark)
            self.ours[best.prompt_id] = best
        return sighting_of(self.url, best, gone=best is None and mark in self._seen)

    def adopt(self, is_ours: Callable[[Mapping[str, Any]], bool], earlier: frozenset[str]) -> Sighting:
        """The one prompt that came after those `earlier`, has no mark, and is ours by all else; unknown: none, or two.

        That is how a prompt is found whose text was lost on the way.
        """
        self._look()
        found = [trace for trace in self.strangers() if trace.prompt_id not in earlier and is_ours(trace.graph)]
        if len(found) != 1:
            return Sighting()
        self.ours[found[0].prompt_id] = found[0]
        return sighting_of(self.url, found[0], gone=False)

    def ids(self) -> frozenset[str]:
        """Of all prompts it has now."""
        return frozenset(trace.prompt_id for trace in self._look() or ())

    def strangers(self) -> tuple[Trace, ...]:
        """The prompts that have come since the check began and do not hold a mark of ours, as last looked."""
        return tuple(
            trace for trace in self._traces if trace.prompt_id not in self.before and trace.prompt_id not in self.ours
        )

    def picture(self, file: OutputFile) -> bytes | None:
        """A file it has put out."""
        with self._access.client(TIMEOUT_S) as client:
            try:
                return client.view(file)
            except TargetError:
                return None

    def inputs_of(self, node_class: str) -> Mapping[str, Any] | None:
        """What it says of a node class."""
        with self._access.client(TIMEOUT_S) as client:
            try:
                return client.object_info(node_class)
            except TargetError:
                return None

    def stop_ours(self) -> None:
        """Interrupt what of ours still runs, and wait for its end: the gateway answers then.

        What waits is left there: a gateway never learns that a waiting prompt is gone, and holds its socket for ever.
        """
        self._look()
        for trace in self._traces:
            if trace.prompt_id in self.ours and trace.runs:
                self._post("/interrupt", {"prompt_id": trace.prompt_id})
        latest_s = time.monotonic() + SETTLE_S
        while any(trace.runs for trace in self.ours.values()) and time.monotonic() < latest_s:
            time.sleep(_SETTLE_EVERY_S)
            self._look()

    def forget_ours(self) -> tuple[str, ...]:
        """Take our prompts out of its history; the ids of those that it still has, wherever."""
        ended = [trace.prompt_id for trace in self.ours.values() if trace.entry is not None]
        if ended:
            self._post("/history", {"delete": ended})
        self._look()
        return tuple(trace.prompt_id for trace in self._traces if trace.prompt_id in self.ours)

    def _post(self, path: str, document: Mapping[str, Any]) -> None:
        with suppress(TargetError):  # what is left is told by who looks afterwards
            self._transport.request("POST", path, orjson.dumps(document))

    def _look(self) -> tuple[Trace, ...] | None:
        """Queue and history now; the queue first: what ends between the questions is in the history then."""
        found: dict[str, Trace] = {}
        try:
            for path, parse in (("/queue", parse_queue_page), (f"/history?max_items={_ENTRIES}", parse_history_page)):
                answer = self._transport.request("GET", path, max_bytes=_PAGE_BYTES)
                traces = parse(answer.status, answer.body)
                if isinstance(traces, Damaged):
                    return None
                found |= {trace.prompt_id: trace for trace in traces}
        except TargetError:
            return None
        self._traces = tuple(found.values())
        for prompt_id in self.ours.keys() & found.keys():
            self.ours[prompt_id] = found[prompt_id]
        return self._traces


def behind_of(checking: Checking) -> Behind | None:
    """The ComfyUI that this check is about, where it answers."""
    known = checking.known
    if known.base_url is None or not known.answers:
        return None
    return Behind(Access.of(checking))


def holds(graph: Mapping[str, Any], mark: str) -> bool:
    """Whether some input has the mark in its text."""
    return any(isinstance(value, str) and mark in value for value in _values(graph))


def is_known(sighting: Sighting) -> bool:
    """Whether the prompt came to the server."""
    return sighting.whereabouts is not Whereabouts.UNKNOWN


def _values(graph: Mapping[str, Any]) -> Iterable[object]:
    for node in graph.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict):
            yield from inputs.values()

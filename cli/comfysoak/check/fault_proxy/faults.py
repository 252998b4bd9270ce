"""What the proxy can be told to do to the traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import orjson

from comfysoak_core.comfyui.messages import Executing, parse_text

Rewrite = Callable[
    [str], dict[str, Any]
]  # the mark of a request -> the graph that ComfyUI gets in the place of its own
SOCKET_STATUS: Final = 502  # what a proxy answers when its upstream refuses


class Fault(Enum):
    """One way to fail."""

    NONE = auto()  # all passes
    REFUSES = auto()  # nobody listens, and what is open is cut
    FREEZES = auto()  # connections are taken, requests read, and nothing is answered
    NO_SOCKET = auto()  # 502 to each WebSocket
    ANSWERS_500 = auto()  # to POST /prompt
    CUTS = auto()  # one WebSocket, without a close frame, when a node of its prompt begins
    LOSES_END = auto()  # the message that tells a prompt's end does not pass
    HOLDS = auto()  # a WebSocket stands still from the moment when a node of its prompt begins


@dataclass(frozen=True, slots=True)
class Passed:
    """One request that came; `at_ns` of the check's steady clock."""

    at_ns: int
    method: str
    path: str  # without its query


@dataclass(frozen=True, slots=True)
class RunningOn:
    """A prompt that has ended, perhaps, and seems to run until a moment: that is how a long one is seen after a cut.

    Whether a client finds a quick one when it looks once is luck.
    """

    prompt_id: str
    graph: Mapping[str, Any]
    until_ns: int

    def answer(self, method: str, path: str) -> bytes | None:
        """What ComfyUI answers while a prompt runs; None: something else was asked."""
        route = path.removeprefix("/api")
        if method != "GET":
            return None
        if route == f"/history/{self.prompt_id}":
            return b"{}"
        if route == "/queue":
            item = [0, self.prompt_id, self.graph, {}, []]
            return orjson.dumps({"queue_running": [item], "queue_pending": []})
        return None


def begins(text: bytes, prompts: frozenset[str]) -> bool:
    """Whether a message tells that a node of one of these prompts begins."""
    message = _executing(text)
    return message is not None and message.node is not None and message.prompt_id in prompts


def ends(text: bytes, prompts: frozenset[str]) -> bool:
    """Whether a message tells the end of one of these prompts."""
    message = _executing(text)
    return message is not None and message.node is None and message.prompt_id in prompts


def _executing(text: bytes) -> Executing | None:
    if b'"executing"' not in text:
        return None
    message = parse_text(text.decode("utf-8", "replace"))
    return message if isinstance(message, Executing) else None

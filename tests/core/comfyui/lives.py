"""A prompt, its graph and what a server says about it, in few words, for the tests of lives."""

from __future__ import annotations

import json
from typing import Any

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.answers import Queue
from comfysoak_core.comfyui.history import HistoryEntry, NoEntry, parse_history
from comfysoak_core.comfyui.life import PromptLife
from comfysoak_core.comfyui.messages import Message, parse_text
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import Prompt

ID = "8b0f1bd6-5c36-4c6f-9c6c-5b1b7c1a0d11"
GRAPH: dict[str, Any] = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
    "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 1}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
}
SHAPE = GraphShape.of(GRAPH)
FILE = {"filename": "a_00001_.png", "subfolder": "", "type": "output"}


def s(seconds: float) -> int:
    """Seconds after the start of the test, in ns."""
    return round(seconds * NS_PER_S)


def prompt(**fields: Any) -> Prompt:
    """A prompt that is due at once, with a deadline of 100 s."""
    given = {"scheduled_ns": 0, "deadline_ns": s(100), **fields}
    return Prompt(id=ID, server="http://s", worker="w", client_id="c", workflow="f", **given)


def life(**options: Any) -> PromptLife:
    """The life of that prompt, not sent yet."""
    return PromptLife(prompt(), SHAPE, **options)


def accepted(at_s: float = 1.0, **options: Any) -> PromptLife:
    """A prompt that was sent just before `at_s` and accepted then."""
    begun = life(**options)
    begun.sent(s(at_s - 0.1))
    begun.answered(200, json.dumps({"prompt_id": ID, "number": 7, "node_errors": {}}).encode(), s(at_s))
    return begun


def told(kind: str, **data: Any) -> Message:
    """A message about the prompt."""
    return parse_text(json.dumps({"type": kind, "data": {"prompt_id": ID, **data}}))


def status(remaining: int) -> Message:
    """A status message."""
    return parse_text(json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}}}))


def node(node_id: str, state: str) -> Message:
    """A progress_state with one node."""
    return told("progress_state", nodes={node_id: {"state": state, "value": 0, "max": 1, "display_node_id": node_id}})


def tell(one: PromptLife, *messages: Message, at_s: float = 2.0) -> None:
    """Pass on messages, a millisecond apart."""
    for number, message in enumerate(messages):
        one.message(message, s(at_s) + number * 1_000_000, 0, 100)


def begin(cached: list[str] | None = None) -> list[Message]:
    """The worker takes the prompt."""
    return [told("execution_start", timestamp=1000), told("execution_cached", nodes=cached or [], timestamp=1001)]


def run(*node_ids: str) -> list[Message]:
    """Nodes run, one after the other."""
    return [
        message
        for node_id in node_ids
        for message in (node(node_id, "running"), told("executing", node=node_id), node(node_id, "finished"))
    ]


def success() -> list[Message]:
    """All nodes have run, and the prompt has ended."""
    return [told("execution_success", timestamp=3000), told("executing", node=None)]


def entry(end: str = "execution_success", outputs: dict[str, Any] | None = None, **data: Any) -> HistoryEntry | NoEntry:
    """The history entry of the prompt."""
    messages = [
        ["execution_start", {"prompt_id": ID, "timestamp": 1000}],
        ["execution_cached", {"nodes": [], "prompt_id": ID, "timestamp": 1001}],
        [end, {"prompt_id": ID, "timestamp": 3000, **data}],
    ]
    good = end == "execution_success"
    shown = {"3": {"images": [FILE]}} if outputs is None else outputs
    found = {
        "prompt": [7, ID, GRAPH, {}, ["3"]],
        "outputs": shown,
        "status": {"status_str": "success" if good else "error", "completed": good, "messages": messages},
    }
    answer = parse_history(ID, 200, json.dumps({ID: found}).encode())
    assert isinstance(answer, HistoryEntry)
    return answer


EMPTY_QUEUE = Queue((), (), None)
RUNNING = Queue((ID,), (), 7)
PENDING = Queue(("other",), (ID,), 7)

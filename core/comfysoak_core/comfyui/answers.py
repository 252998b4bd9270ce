"""Every HTTP answer of a ComfyUI that the harness reads, as values; both versions, and damaged ones too.

Each parser takes the status and the body of an answer and never raises: what is not such an answer becomes `Damaged`
with a reason. Texts and lists from the server are cut to bounds, so that a hostile answer costs no memory for long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from comfysoak_core.comfyui.json_text import (
    MAX_TEXT,
    bounded,
    document_or_none,
    excerpt,
    number_or_none,
    text_or_none,
    whole_or_none,
)

MAX_NODE_ERRORS: Final = 50
MAX_DEVICES: Final = 64

_OK: Final = 200
_BAD_REQUEST: Final = 400
_UNSURE: Final = frozenset({408, 502, 504})  # said by something in between: the prompt may have arrived


@dataclass(frozen=True, slots=True)
class Damaged:
    """An answer that is not what this route of a ComfyUI gives."""

    status: int
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class NodeProblem:
    """One error of one node, from `node_errors`."""

    node_id: str
    node_class: str | None
    type: str
    message: str  # message and details, as the server logs them
    input_name: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """200 to POST /prompt. With `node_problems` the outputs they belong to were left out without a further word."""

    prompt_id: str | None
    number: float | None
    node_problems: tuple[NodeProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """400 to POST /prompt, from ComfyUI's own validation."""

    error_type: str
    message: str
    node_problems: tuple[NodeProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class SubmitFailed:
    """Any other answer to POST /prompt. `unsure`: the prompt may have been queued all the same."""

    status: int
    message: str
    unsure: bool = False


Submission = Accepted | Refused | SubmitFailed


def parse_submission(status: int, body: bytes) -> Submission:
    """The answer to POST /prompt."""
    document = document_or_none(body)
    if status == _OK and isinstance(document, dict):
        number, prompt_id = document.get("number"), document.get("prompt_id")
        problems = tuple(_node_problems(document.get("node_errors")))
        return Accepted(text_or_none(prompt_id), number_or_none(number), problems)
    if status == _OK:
        return SubmitFailed(status, f"200, but {excerpt(body) or 'an empty body'}", unsure=True)
    error = document.get("error") if isinstance(document, dict) else None
    if status == _BAD_REQUEST and isinstance(error, dict) and isinstance(error.get("type"), str):
        problems = tuple(_node_problems(document.get("node_errors")))
        return Refused(bounded(error["type"], 100), _told(error), problems)
    return SubmitFailed(status, f"{status} {excerpt(body)}".strip(), unsure=status in _UNSURE)


def _node_problems(said: object) -> Iterator[NodeProblem]:
    """At most `MAX_NODE_ERRORS`; sorted, as the server's own order is that of a set."""
    if not isinstance(said, dict):
        return
    left = MAX_NODE_ERRORS
    for node_id in sorted(said):
        node = said[node_id]
        errors = node.get("errors") if isinstance(node, dict) else None
        for error in errors if isinstance(errors, list) else []:
            if left == 0:
                return
            if isinstance(error, dict):
                left -= 1
                yield _node_problem(node_id, text_or_none(node.get("class_type")), error)


def _node_problem(node_id: str, node_class: str | None, error: Mapping[str, Any]) -> NodeProblem:
    extra = error.get("extra_info")
    input_name = text_or_none(extra.get("input_name")) if isinstance(extra, dict) else None
    error_type = text_or_none(error.get("type")) or "unknown"
    return NodeProblem(bounded(node_id, 200), node_class, error_type, _told(error), input_name)


def _told(error: Mapping[str, Any]) -> str:
    parts = (text_or_none(error.get(name)) for name in ("message", "details"))
    return bounded(": ".join(part for part in parts if part), MAX_TEXT)


@dataclass(frozen=True, slots=True)
class Queue:
    """GET /queue: ids only, in the order in which they will run."""

    running: tuple[str, ...]
    pending: tuple[str, ...]
    highest_number: float | None  # of all prompts in it; falls back when the server was restarted

    def __contains__(self, prompt_id: object) -> bool:
        """Whether the prompt waits or runs."""
        return prompt_id in self.running or prompt_id in self.pending

    @property
    def remaining(self) -> int:
        """Waiting and running together."""
        return len(self.running) + len(self.pending)


def object_of(status: int, body: bytes) -> dict[str, Any] | Damaged:
    """The object in an answer that should be 200 with one."""
    document = document_or_none(body)
    if status != _OK or not isinstance(document, dict):
        return Damaged(status, "expected 200 with an object", excerpt(body))
    return document


def parse_queue(status: int, body: bytes) -> Queue | Damaged:
    """The answer to GET /queue. `queue_pending` is a heap on the wire; here it is sorted."""
    document = object_of(status, body)
    if isinstance(document, Damaged):
        return document
    running, pending = document.get("queue_running"), document.get("queue_pending")
    if not isinstance(running, list) or not isinstance(pending, list):
        return Damaged(status, "expected the lists queue_running and queue_pending", excerpt(body))
    runs, waits = sorted(_queue_items(running)), sorted(_queue_items(pending))
    numbers = [number for number, _ in (*runs, *waits)]
    return Queue(tuple(i for _, i in runs), tuple(i for _, i in waits), max(numbers, default=None))


def _queue_items(items: list[Any]) -> Iterator[tuple[float, str]]:
    for item in items:
        if isinstance(item, list) and len(item) >= 2:
            number, prompt_id = number_or_none(item[0]), item[1]
            if number is not None and isinstance(prompt_id, str):
                yield number, prompt_id


def parse_queue_remaining(status: int, body: bytes) -> int | Damaged:
    """The answer to GET /prompt: waiting and running together."""
    document = document_or_none(body)
    info = document.get("exec_info") if isinstance(document, dict) else None
    remaining = whole_or_none(info.get("queue_remaining")) if isinstance(info, dict) else None
    if status != _OK or remaining is None:
        return Damaged(status, "expected 200 with exec_info.queue_remaining", excerpt(body))
    return remaining


@dataclass(frozen=True, slots=True)
class Device:
    """One device a server computes on. On CPU all memory figures are those of the RAM."""

    name: str
    type: str
    index: int | None
    vram_total_bytes: int | None
    vram_free_bytes: int | None
    torch_vram_total_bytes: int | None
    torch_vram_free_bytes: int | None


@dataclass(frozen=True, slots=True)
class SystemStats:
    """GET /system_stats: what the server is and what memory it sees."""

    comfyui_version: str | None
    python_version: str | None
    pytorch_version: str | None
    os: str | None
    ram_total_bytes: int | None
    ram_free_bytes: int | None
    argv: tuple[str, ...]
    devices: tuple[Device, ...]  # the main one first


def parse_system_stats(status: int, body: bytes) -> SystemStats | Damaged:
    """The answer to GET /system_stats."""
    document = document_or_none(body)
    system = document.get("system") if isinstance(document, dict) else None
    if status != _OK or not isinstance(system, dict):
        return Damaged(status, "expected 200 with the object `system`", excerpt(body))
    devices = document.get("devices")
    argv = system.get("argv")
    return SystemStats(
        comfyui_version=text_or_none(system.get("comfyui_version")),
        python_version=text_or_none(system.get("python_version")),
        pytorch_version=text_or_none(system.get("pytorch_version")),
        os=text_or_none(system.get("os")),
        ram_total_bytes=whole_or_none(system.get("ram_total")),
        ram_free_bytes=whole_or_none(system.get("ram_free")),
        argv=tuple(bounded(str(word), MAX_TEXT) for word in argv[:1000]) if isinstance(argv, list) else (),
        devices=tuple(_devices(devices)) if isinstance(devices, list) else (),
    )


def _devices(said: list[Any]) -> Iterator[Device]:
    for device in said[:MAX_DEVICES]:
        if isinstance(device, dict):
            yield Device(
                text_or_none(device.get("name")) or "unnamed",
                text_or_none(device.get("type")) or "unknown",
                whole_or_none(device.get("index")),
                *(whole_or_none(device.get(name)) for name in _DEVICE_MEMORY),
            )


_DEVICE_MEMORY: Final = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")

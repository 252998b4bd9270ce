"""Every message a ComfyUI sends over its WebSocket, as one frozen dataclass a kind.

`parse_text` and `parse_binary` never raise: kinds that are not known become `Unknown`, and what is not a message at
all, or has a field of a wrong type, becomes `BadMessage` with a reason. Every field but the kind may be missing (None),
as older and newer servers differ. `raw` is the whole decoded document, so that unknown fields are kept.

Valid for ComfyUI 0.3.64 to 0.33.0; the receivers of each kind and their order are told in `docs/comfyui.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeVar

from comfysoak_core.comfyui.json_text import NotJsonError, decode, excerpt

MAX_KIND_CHARACTERS: Final = 100
_NOTHING: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """What all messages have: a kind, the prompt they are about (None: about none), and the document as it came."""

    KIND: ClassVar[str] = ""
    FIELDS: ClassVar[frozenset[str]] = frozenset()

    raw: Mapping[str, Any]
    prompt_id: str | None

    @property
    def kind(self) -> str:
        """The `type` of the message."""
        return self.KIND

    @property
    def rest(self) -> dict[str, Any]:
        """The fields of `data` that this version knows nothing of."""
        data = self.raw.get("data")
        return {name: data[name] for name in data if name not in self.FIELDS} if isinstance(data, dict) else {}

    def __repr__(self) -> str:
        """Short, whatever a server sent."""
        return f"{type(self).__name__}({excerpt(str(dict(self.raw)), 120)})"


@dataclass(frozen=True, slots=True, repr=False)
class Status(Message):
    """To all sockets, about three times a prompt: how many prompts wait or run, of all clients together."""

    KIND = "status"
    FIELDS = frozenset({"status", "sid"})

    queue_remaining: int | None
    sid: str | None  # in the first message after connecting: the clientId the server goes by


@dataclass(frozen=True, slots=True, repr=False)
class ExecutionStart(Message):
    """The worker has begun with the prompt."""

    KIND = "execution_start"
    FIELDS = frozenset({"prompt_id", "timestamp"})

    timestamp_ms: int | None  # the server's clock, since 1970


@dataclass(frozen=True, slots=True, repr=False)
class ExecutionCached(Message):
    """The nodes whose results are still there from earlier prompts; always sent, often empty."""

    KIND = "execution_cached"
    FIELDS = frozenset({"prompt_id", "timestamp", "nodes"})

    nodes: tuple[str, ...]
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True, repr=False)
class Executing(Message):
    """A node begins, or, with `is_end`, the prompt has ended and is in history.

    After a reconnect one comes without prompt id: the node that is running now.
    """

    KIND = "executing"
    FIELDS = frozenset({"prompt_id", "node", "display_node"})

    node: str | None
    display_node: str | None
    is_end: bool  # `node` was there and null


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node in a `progress_state`: "running" or "finished"; `maximum` is 1 until it reports progress."""

    state: str
    value: float
    maximum: float
    display_node_id: str | None


@dataclass(frozen=True, slots=True, repr=False)
class ProgressState(Message):
    """All nodes begun so far in this prompt, and how far each is.

    It grows with the graph, so nodes are decoded one by one, when asked for (`node`).
    """

    KIND = "progress_state"
    FIELDS = frozenset({"prompt_id", "nodes"})

    nodes: Mapping[str, Any]  # node id -> what the server says of it, not yet looked at

    def node(self, node_id: str) -> NodeState | None:
        """What is said of one node; None when that is not what a ComfyUI says."""
        said = self.nodes.get(node_id)
        if not isinstance(said, dict):
            return None
        state, value, maximum = said.get("state"), said.get("value", 0.0), said.get("max", 1.0)
        display = said.get("display_node_id")
        if not isinstance(state, str) or not _is_number(value) or not _is_number(maximum):
            return None
        return NodeState(state, float(value), float(maximum), display if isinstance(display, str) else None)


@dataclass(frozen=True, slots=True, repr=False)
class Progress(Message):
    """How far one node is. 0.33 leaves most of these out: differences of `value` count, not messages."""

    KIND = "progress"
    FIELDS = frozenset({"prompt_id", "node", "value", "max"})

    node: str | None
    value: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Executed(Message):
    """A node has output to show: `output` is its `ui` object, not yet looked at."""

    KIND = "executed"
    FIELDS = frozenset({"prompt_id", "node", "display_node", "output"})

    node: str | None
    display_node: str | None
    output: Mapping[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class ExecutionSuccess(Message):
    """All nodes have run. Not the end: history is written after it."""

    KIND = "execution_success"
    FIELDS = frozenset({"prompt_id", "timestamp"})

    timestamp_ms: int | None


@dataclass(frozen=True, slots=True, repr=False)
class ExecutionError(Message):
    """A node raised; no other node of this prompt runs after it."""

    KIND = "execution_error"
    FIELDS = frozenset(
        {"prompt_id", "timestamp", "node_id", "node_type", "executed", "exception_message", "exception_type"}
        | {"traceback", "current_inputs", "current_outputs"}
    )

    node_id: str | None
    node_type: str | None
    exception_type: str | None  # the full name: `torch.OutOfMemoryError`
    exception_message: str | None
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True, repr=False)
class ExecutionInterrupted(Message):
    """Somebody interrupted the prompt; `node_id` is where it noticed, often the node after."""

    KIND = "execution_interrupted"
    FIELDS = frozenset({"prompt_id", "timestamp", "node_id", "node_type", "executed"})

    node_id: str | None
    node_type: str | None
    timestamp_ms: int | None


@dataclass(frozen=True, slots=True, repr=False)
class FeatureFlags(Message):
    """What the server can do; only in answer to ours, and only when ours was the first message."""

    KIND = "feature_flags"

    flags: Mapping[str, Any]


@dataclass(frozen=True, slots=True, repr=False)
class Logs(Message):
    """Lines of the server's log, to those who asked for them."""

    KIND = "logs"
    FIELDS = frozenset({"entries", "size"})

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class PreviewImage(Message):
    """Binary type 1: a picture that names no prompt; it belongs to the last `Progress`."""

    KIND = "binary 1"

    image_type: str  # "image/jpeg", "image/png", or "format N"
    frame: bytes
    offset: int

    @property
    def image(self) -> bytes:
        """The picture file."""
        return self.frame[self.offset :]


@dataclass(frozen=True, slots=True, repr=False)
class PreviewWithMetadata(Message):
    """Binary type 4: a picture that says which node it is of; `raw` is its metadata."""

    KIND = "binary 4"

    node_id: str | None
    image_type: str | None
    frame: bytes
    offset: int

    @property
    def image(self) -> bytes:
        """The picture file."""
        return self.frame[self.offset :]


@dataclass(frozen=True, slots=True, repr=False)
class ProgressText(Message):
    """Binary type 3: a line of text about a node, sent to all clients, without a prompt id."""

    KIND = "binary 3"

    node_id: str
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Unknown(Message):
    """A message of a kind this version knows nothing of: kept, counted, harmless."""

    unknown_kind: str
    frame: bytes = b""

    @property
    def kind(self) -> str:
        """The `type` as the server wrote it, cut to a bound, or `binary N`."""
        return self.unknown_kind


@dataclass(frozen=True, slots=True, repr=False)
class BadMessage(Message):
    """What ComfyUI never sends: broken JSON, no kind, a field of a wrong type, a frame too short."""

    KIND = "bad"

    reason: str
    excerpt: str


def parse_text(text: bytes | str) -> Message:
    """The message in a text frame; never raises."""
    try:
        document = decode(text)
        if type(document) is not dict:
            raise _WrongError("a message is an object, this is not")
        kind = document.get("type")
        data = document.get("data", _NOTHING)
        if type(kind) is not str:
            raise _WrongError("`type` is missing or no text")
        parser = _PARSERS.get(kind)
        if parser is None:
            return Unknown(document, _any_prompt_id(data), kind[:MAX_KIND_CHARACTERS])
        if type(data) is not dict and data is not _NOTHING:
            raise _WrongError(f"`data` of {kind} is no object")
        return parser(document, data)
    except (NotJsonError, _WrongError) as error:
        return BadMessage(_NOTHING, None, str(error), excerpt(text))


def parse_binary(frame: bytes) -> Message:
    """The message in a binary frame; never raises."""
    if len(frame) < _WORD:
        return _bad_frame(frame, "a binary frame has a type of 4 bytes, this is shorter")
    number = int.from_bytes(frame[:_WORD], "big")
    parser = _BINARY_PARSERS.get(number)
    if parser is None:
        return Unknown(_NOTHING, None, f"binary {number}", frame)
    return parser(frame)


class _WrongError(ValueError):
    """A field has a type that no ComfyUI gives it."""


T = TypeVar("T")


def _is_number(value: object) -> bool:
    return type(value) is float or type(value) is int


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is None or type(value) is str:
        return value
    raise _WrongError(f"`{name}` is no text")


def _whole(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is None or type(value) is int:
        return value
    if type(value) is float and abs(value) < 2**63:  # NaN and infinity fail the comparison
        return int(value)
    raise _WrongError(f"`{name}` is no number")


def _number(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is None or _is_number(value):
        return value
    raise _WrongError(f"`{name}` is no number")


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if value is None:
        return _NOTHING
    if type(value) is dict:
        return value
    raise _WrongError(f"`{name}` is no object")


def _texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = data.get(name)
    if values is None:
        return ()
    if type(values) is list and all(type(value) is str for value in values):
        return tuple(values)
    raise _WrongError(f"`{name}` is no list of texts")


def _any_prompt_id(data: object) -> str | None:
    found = data.get("prompt_id") if isinstance(data, dict) else None
    return found if isinstance(found, str) else None


Document = Mapping[str, Any]


def _status(document: Document, data: Document) -> Message:
    status = _object(data, "status")
    remaining = _whole(_object(status, "exec_info"), "queue_remaining")
    return Status(document, None, remaining, _text(data, "sid"))


def _execution_start(document: Document, data: Document) -> Message:
    return ExecutionStart(document, _text(data, "prompt_id"), _whole(data, "timestamp"))


def _execution_cached(document: Document, data: Document) -> Message:
    return ExecutionCached(document, _text(data, "prompt_id"), _texts(data, "nodes"), _whole(data, "timestamp"))


def _executing(document: Document, data: Document) -> Message:
    node = _text(data, "node")
    is_end = node is None and "node" in data
    return Executing(document, _text(data, "prompt_id"), node, _text(data, "display_node"), is_end)


def _progress_state(document: Document, data: Document) -> Message:
    return ProgressState(document, _text(data, "prompt_id"), _object(data, "nodes"))


def _progress(document: Document, data: Document) -> Message:
    value, maximum = _number(data, "value"), _number(data, "max")
    return Progress(document, _text(data, "prompt_id"), _text(data, "node"), value, maximum)


def _executed(document: Document, data: Document) -> Message:
    node, display = _text(data, "node"), _text(data, "display_node")
    return Executed(document, _text(data, "prompt_id"), node, display, _object(data, "output"))


def _execution_success(document: Document, data: Document) -> Message:
    return ExecutionSuccess(document, _text(data, "prompt_id"), _whole(data, "timestamp"))


def _execution_error(document: Document, data: Document) -> Message:
    return ExecutionError(
        document,
        _text(data, "prompt_id"),
        _text(data, "node_id"),
        _text(data, "node_type"),
        _text(data, "exception_type"),
        _text(data, "exception_message"),
        _whole(data, "timestamp"),
    )


def _execution_interrupted(document: Document, data: Document) -> Message:
    node_id, node_type = _text(data, "node_id"), _text(data, "node_type")
    return ExecutionInterrupted(document, _text(data, "prompt_id"), node_id, node_type, _whole(data, "timestamp"))


def _feature_flags(document: Document, data: Document) -> Message:
    return FeatureFlags(document, None, data)


def _logs(document: Document, data: Document) -> Message:
    entries = data.get("entries")
    if not isinstance(entries, list):
        raise _WrongError("`entries` is no list")
    lines = [entry.get("m") for entry in entries if isinstance(entry, dict)]
    return Logs(document, None, tuple(line for line in lines if isinstance(line, str)))


_PARSERS: Final[Mapping[str, Callable[[Document, Document], Message]]] = {
    "status": _status,
    "execution_start": _execution_start,
    "execution_cached": _execution_cached,
    "executing": _executing,
    "progress_state": _progress_state,
    "progress": _progress,
    "executed": _executed,
    "execution_success": _execution_success,
    "execution_error": _execution_error,
    "execution_interrupted": _execution_interrupted,
    "feature_flags": _feature_flags,
    "logs": _logs,
}


_WORD = 4
_IMAGE_TYPES: Final = {1: "image/jpeg", 2: "image/png"}


def _bad_frame(frame: bytes, reason: str) -> BadMessage:
    return BadMessage(_NOTHING, None, reason, frame[:32].hex())


def _preview(frame: bytes) -> Message:
    if len(frame) < 2 * _WORD:
        return _bad_frame(frame, "an image frame has a format of 4 bytes, this is shorter")
    number = int.from_bytes(frame[_WORD : 2 * _WORD], "big")
    return PreviewImage(_NOTHING, None, _IMAGE_TYPES.get(number, f"format {number}"), frame, 2 * _WORD)


def _progress_text(frame: bytes) -> Message:
    end = 2 * _WORD + int.from_bytes(frame[_WORD : 2 * _WORD], "big")
    if len(frame) < max(end, 2 * _WORD):
        return _bad_frame(frame, "a text frame is shorter than its node id")
    node_id = frame[2 * _WORD : end].decode("utf-8", "replace")
    return ProgressText(_NOTHING, None, node_id, frame[end:].decode("utf-8", "replace"))


def _preview_with_metadata(frame: bytes) -> Message:
    end = 2 * _WORD + int.from_bytes(frame[_WORD : 2 * _WORD], "big")
    if len(frame) < max(end, 2 * _WORD):
        return _bad_frame(frame, "an image frame is shorter than its metadata")
    try:
        metadata = decode(frame[2 * _WORD : end])
        if type(metadata) is not dict:
            raise _WrongError("the metadata of an image frame is no object")
        prompt_id, node_id = _text(metadata, "prompt_id"), _text(metadata, "node_id")
        return PreviewWithMetadata(metadata, prompt_id, node_id, _text(metadata, "image_type"), frame, end)
    except (NotJsonError, _WrongError) as error:
        return _bad_frame(frame, str(error))


_BINARY_PARSERS: Final[Mapping[int, Callable[[bytes], Message]]] = {
    1: _preview,
    3: _progress_text,
    4: _preview_with_metadata,
}

"""The kinds of messages a ComfyUI sends over its WebSocket: one frozen dataclass each.

Every field but the kind may be missing (None), as older and newer servers differ. `raw` is the whole decoded
document, so that unknown fields are kept. Valid for ComfyUI 0.3.64 to 0.33.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_core.value import value


@value(repr=False)
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


@value(repr=False)
class Status(Message):
    """To all sockets, about three times a prompt: how many prompts wait or run, of all clients together."""

    KIND = "status"
    FIELDS = frozenset({"status", "sid"})

    queue_remaining: int | None
    sid: str | None  # in the first message after connecting: the clientId the server goes by


@value(repr=False)
class ExecutionStart(Message):
    """The worker has begun with the prompt."""

    KIND = "execution_start"
    FIELDS = frozenset({"prompt_id", "timestamp"})

    timestamp_ms: int | None  # the server's clock, since 1970


@value(repr=False)
class ExecutionCached(Message):
    """The nodes whose results are still there from earlier prompts; always sent, often empty."""

    KIND = "execution_cached"
    FIELDS = frozenset({"prompt_id", "timestamp", "nodes"})

    nodes: tuple[str, ...]
    timestamp_ms: int | None


@value(repr=False)
class Executing(Message):
    """A node begins, or, with `is_end`, the prompt has ended and is in history.

    After a reconnect one comes without prompt id: the node that is running now.
    """

    KIND = "executing"
    FIELDS = frozenset({"prompt_id", "node", "display_node"})

    node: str | None
    display_node: str | None
    is_end: bool  # `node` was there and null


@value()
class NodeState:
    """One node in a `progress_state`: "running" or "finished"; `maximum` is 1 until it reports progress."""

    state: str
    value: float
    maximum: float
    display_node_id: str | None


@value(repr=False)
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
        if not isinstance(state, str) or not is_number(value) or not is_number(maximum):
            return None
        try:
            return NodeState(state, float(value), float(maximum), display if isinstance(display, str) else None)
        except OverflowError:  # JSON knows no widest number
            return None


@value(repr=False)
class Progress(Message):
    """How far one node is. 0.33 leaves most of these out: differences of `value` count, not messages."""

    KIND = "progress"
    FIELDS = frozenset({"prompt_id", "node", "value", "max"})

    node: str | None
    value: float | None
    maximum: float | None


@value(repr=False)
class Executed(Message):
    """A node has output to show: `output` is its `ui` object, not yet looked at."""

    KIND = "executed"
    FIELDS = frozenset({"prompt_id", "node", "display_node", "output"})

    node: str | None
    display_node: str | None
    output: Mapping[str, Any]


@value(repr=False)
class ExecutionSuccess(Message):
    """All nodes have run. Not the end: history is written after it."""

    KIND = "execution_success"
    FIELDS = frozenset({"prompt_id", "timestamp"})

    timestamp_ms: int | None


@value(repr=False)
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


@value(repr=False)
class ExecutionInterrupted(Message):
    """Somebody interrupted the prompt; `node_id` is where it noticed, often the node after."""

    KIND = "execution_interrupted"
    FIELDS = frozenset({"prompt_id", "timestamp", "node_id", "node_type", "executed"})

    node_id: str | None
    node_type: str | None
    timestamp_ms: int | None


@value(repr=False)
class FeatureFlags(Message):
    """What the server can do; only in answer to ours, and only when ours was the first message."""

    KIND = "feature_flags"

    flags: Mapping[str, Any]

    @property
    def rest(self) -> dict[str, Any]:
        """Nothing: every flag is in `flags`."""
        return {}


@value(repr=False)
class Logs(Message):
    """Lines of the server's log, to those who asked for them."""

    KIND = "logs"
    FIELDS = frozenset({"entries", "size"})

    lines: tuple[str, ...]


@value(repr=False)
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


@value(repr=False)
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


@value(repr=False)
class ProgressText(Message):
    """Binary type 3: a line of text about a node, sent to all clients, without a prompt id."""

    KIND = "binary 3"

    node_id: str
    text: str


@value(repr=False)
class Unknown(Message):
    """A message of a kind this version knows nothing of: kept, counted, harmless."""

    unknown_kind: str
    frame: bytes = b""

    @property
    def kind(self) -> str:
        """The `type` as the server wrote it, cut to a bound, or `binary N`."""
        return self.unknown_kind


@value(repr=False)
class BadMessage(Message):
    """What ComfyUI never sends: broken JSON, no kind, a field of a wrong type, a frame too short."""

    KIND = "bad"

    reason: str
    excerpt: str


def is_number(value: object) -> bool:
    """Whether a value from JSON is a number; true and false are none."""
    return type(value) is float or type(value) is int

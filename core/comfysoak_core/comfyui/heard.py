"""What was heard of one prompt on its socket, message by message.

Nothing is replayed after a reconnect, so what is kept here may have gaps; `heard_all` says whether it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from comfysoak_core.comfyui import messages as m
from comfysoak_core.comfyui.history import MAX_FILES, Failure, OutputFile, OutputText, files_of_node, texts_of_node
from comfysoak_core.comfyui.json_text import both_ends, bounded, text_or_none
from comfysoak_core.comfyui.node_runs import NodeRuns
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.rows import Prompt


class Heard:
    """The socket's side of one prompt; all times UTC ns of the run's clock unless `_server_ms`."""

    __slots__ = (
        "bad",
        "bytes",
        "cached",
        "end_error_ns",
        "ended_ns",
        "ended_server_ms",
        "failure",
        "files",
        "gaps",
        "ids",
        "last_ns",
        "messages",
        "nodes",
        "start_error_ns",
        "start_ns",
        "started_server_ms",
        "succeeded",
        "texts",
    )

    def __init__(self, prompt: Prompt, shape: GraphShape) -> None:
        self.ids = frozenset(shape.classes)
        self.nodes = NodeRuns(prompt, shape)
        self.messages = 0
        self.bytes = 0
        self.gaps = 0
        self.last_ns: int | None = None
        self.start_ns: int | None = None
        self.start_error_ns: int | None = None
        self.started_server_ms: int | None = None
        self.cached: frozenset[str] | None = None
        self.succeeded = False
        self.failure: Failure | None = None
        self.ended_ns: int | None = None
        self.end_error_ns: int | None = None
        self.ended_server_ms: int | None = None
        self.files: list[OutputFile] = []
        self.texts: list[OutputText] = []
        self.bad: str | None = None  # the first thing that no ComfyUI says

    @property
    def heard_all(self) -> bool:
        """Whether the socket was there from the start of the prompt on."""
        return self.gaps == 0 and self.start_ns is not None and self.cached is not None

    @property
    def knows_how(self) -> bool:
        """Whether the messages say how the prompt ended."""
        return self.succeeded or self.failure is not None

    def take(self, message: m.Message, at_ns: int, error_ns: int, size_bytes: int) -> None:
        """A message about this prompt."""
        self.messages += 1
        self.bytes += size_bytes
        self.last_ns = at_ns
        if self.ended_ns is not None:
            self.note_bad(f"{message.kind} after the end")
            return
        handler = _HANDLERS.get(type(message))
        if handler is not None:
            handler(self, message, at_ns, error_ns)

    def gap(self) -> None:
        """The socket was lost."""
        self.gaps += 1
        self.nodes.gap()

    def note_bad(self, reason: str) -> None:
        """Something came that no ComfyUI says; the first is kept."""
        if self.bad is None:
            self.bad = bounded(reason, 200)

    def on_start(self, message: m.ExecutionStart, at_ns: int, error_ns: int) -> None:
        """The worker has begun."""
        if self.start_ns is not None:
            self.note_bad("execution_start twice")
            return
        self.start_ns, self.start_error_ns = at_ns, error_ns
        self.started_server_ms = message.timestamp_ms

    def on_cached(self, message: m.ExecutionCached, _at_ns: int, _error_ns: int) -> None:
        """What came from the cache."""
        self.cached = self.ids.intersection(message.nodes)

    def on_executing(self, message: m.Executing, at_ns: int, error_ns: int) -> None:
        """A node begins, or the prompt has ended."""
        if message.node is not None:
            self.nodes.started(message.node, at_ns, message.display_node)
        elif message.is_end:
            self.ended_ns, self.end_error_ns = at_ns, error_ns
            self.nodes.close(at_ns)

    def on_state(self, message: m.ProgressState, at_ns: int, _error_ns: int) -> None:
        """How far all nodes are."""
        self.nodes.state(message, at_ns, self.cached or frozenset())

    def on_progress(self, message: m.Progress, at_ns: int, _error_ns: int) -> None:
        """How far one node is."""
        self.nodes.progress(message, at_ns)

    def on_executed(self, message: m.Executed, _at_ns: int, _error_ns: int) -> None:
        """A node has put something out."""
        if message.node is not None and len(self.files) < MAX_FILES:
            self.files.extend(files_of_node(message.node, message.output))
            del self.files[MAX_FILES:]
            self.texts.extend(texts_of_node(message.node, message.output))
            del self.texts[MAX_FILES:]

    def on_success(self, message: m.ExecutionSuccess, at_ns: int, _error_ns: int) -> None:
        """All nodes have run."""
        if self.failure is not None:
            self.note_bad("execution_success after a failure")
            return
        self.succeeded = True
        self.ended_server_ms = message.timestamp_ms
        self.nodes.close(at_ns)

    def on_error(self, message: m.ExecutionError, at_ns: int, _error_ns: int) -> None:
        """A node raised."""
        failure = Failure(
            interrupted=False,
            node_id=text_or_none(message.node_id),
            node_class=text_or_none(message.node_type),
            error_type=text_or_none(message.exception_type),
            message=both_ends(message.exception_message or ""),
        )
        self._fail(failure, message.timestamp_ms, at_ns)

    def on_interrupted(self, message: m.ExecutionInterrupted, at_ns: int, _error_ns: int) -> None:
        """Somebody interrupted it."""
        failure = Failure(
            interrupted=True,
            node_id=text_or_none(message.node_id),
            node_class=text_or_none(message.node_type),
            error_type=None,
            message=None,
        )
        self._fail(failure, message.timestamp_ms, at_ns)

    def _fail(self, failure: Failure, timestamp_ms: int | None, at_ns: int) -> None:
        if self.knows_how:
            self.note_bad("a failure after the prompt had ended")
            return
        self.failure = failure
        self.ended_server_ms = timestamp_ms
        self.nodes.close(at_ns)


_HANDLERS: Final[Mapping[type[m.Message], Callable[[Heard, Any, int, int], None]]] = {
    m.ExecutionStart: Heard.on_start,
    m.ExecutionCached: Heard.on_cached,
    m.Executing: Heard.on_executing,
    m.ProgressState: Heard.on_state,
    m.Progress: Heard.on_progress,
    m.Executed: Heard.on_executed,
    m.ExecutionSuccess: Heard.on_success,
    m.ExecutionError: Heard.on_error,
    m.ExecutionInterrupted: Heard.on_interrupted,
}

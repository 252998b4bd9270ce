"""What a ComfyUI sends over its WebSocket, read into typed values.

`parse_text` and `parse_binary` never raise: kinds that are not known become `Unknown`, and what is not a message at
all, or has a field of a wrong type, becomes `BadMessage` with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from comfysoak_core.comfyui.json_text import WHOLE_BELOW, NotJsonError, decode, excerpt
from comfysoak_core.comfyui.kinds import (
    BadMessage,
    Executed,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    FeatureFlags,
    Logs,
    Message,
    NodeState,
    PreviewImage,
    PreviewWithMetadata,
    Progress,
    ProgressState,
    ProgressText,
    Status,
    Unknown,
    is_number,
)

__all__ = [
    "BadMessage",
    "Executed",
    "Executing",
    "ExecutionCached",
    "ExecutionError",
    "ExecutionInterrupted",
    "ExecutionStart",
    "ExecutionSuccess",
    "FeatureFlags",
    "Logs",
    "Message",
    "NodeState",
    "PreviewImage",
    "PreviewWithMetadata",
    "Progress",
    "ProgressState",
    "ProgressText",
    "Status",
    "Unknown",
    "parse_binary",
    "parse_text",
]

MAX_KIND_CHARACTERS: Final = 100
_NOTHING: Final[Mapping[str, Any]] = {}


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


def _text(data: Mapping[str, Any], name: str) -> str | None:
    value = data.get(name)
    if value is None or type(value) is str:
        return value
    raise _WrongError(f"`{name}` is no text")


def _whole(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is None:
        return None
    if (type(value) is int or type(value) is float) and abs(value) < WHOLE_BELOW:  # NaN and infinity are not below
        return int(value)
    raise _WrongError(f"`{name}` is no number")


def _number(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is None:
        return None
    try:
        if is_number(value):
            return float(value)
    except OverflowError:  # JSON knows no widest number
        pass
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

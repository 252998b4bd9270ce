"""Messages of the WebSocket: what is kept, what becomes a BadMessage, and that nothing ever raises."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfysoak_core.comfyui.messages import (
    BadMessage,
    Executing,
    ExecutionError,
    ExecutionStart,
    Message,
    PreviewImage,
    PreviewWithMetadata,
    Progress,
    ProgressState,
    ProgressText,
    Status,
    Unknown,
    parse_binary,
    parse_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = [
    "status",
    "execution_start",
    "execution_cached",
    "executing",
    "progress_state",
    "progress",
    "executed",
    "execution_success",
    "execution_error",
    "execution_interrupted",
    "feature_flags",
    "logs",
]
FIELDS = ["prompt_id", "node", "nodes", "status", "sid", "timestamp", "value", "max", "output", "entries", "node_id"]


def _text(kind: object, data: object) -> Message:
    return parse_text(json.dumps({"type": kind, "data": data}))


def test_an_unknown_kind_is_kept() -> None:
    """A kind of a later version, or of a custom node, is a message all the same."""
    message = _text("crystools.monitor", {"prompt_id": "p", "cpu": 3})
    assert isinstance(message, Unknown)
    assert (message.kind, message.prompt_id) == ("crystools.monitor", "p")
    assert message.raw["data"]["cpu"] == 3


def test_unknown_fields_are_kept() -> None:
    """Fields of a later version do no harm and are not lost."""
    message = _text("execution_start", {"prompt_id": "p", "timestamp": 5, "queue": "fast"})
    assert isinstance(message, ExecutionStart)
    assert message.rest == {"queue": "fast"}


def test_only_a_null_node_that_is_there_ends_a_prompt() -> None:
    """`executing` without `node` is no end."""
    ends = [_text("executing", data) for data in ({"node": None, "prompt_id": "p"}, {"prompt_id": "p"}, {"node": "3"})]
    assert [isinstance(message, Executing) and message.is_end for message in ends] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "unexpected end of data"),
        (b"[]", "a message is an object"),
        (b"null", "a message is an object"),
        (b"{}", "`type` is missing"),
        (b'{"type": 3}', "`type` is missing or no text"),
        (b'{"type": "status", "data": []}', "`data` of status is no object"),
        (b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": "1"}}}}', "no number"),
        (b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": true}}}}', "no number"),
        (b'{"type": "executing", "data": {"node": 3, "prompt_id": "p"}}', "`node` is no text"),
        (b'{"type": "executing", "data": {"node": null, "prompt_id": 7}}', "`prompt_id` is no text"),
        (b'{"type": "execution_cached", "data": {"nodes": "3"}}', "no list of texts"),
        (b'{"type": "execution_cached", "data": {"nodes": [3]}}', "no list of texts"),
        (b'{"type": "progress_state", "data": {"nodes": []}}', "`nodes` is no object"),
        (b'{"type": "logs", "data": {}}', "`entries` is no list"),
        (b"\xff\xfe", "utf-8"),
        (b"[" * 5000, "recursion|unexpected|depth"),
    ],
)
def test_wrong_types_become_bad_messages_with_a_reason(text: bytes, reason: str) -> None:
    """What no ComfyUI sends is told apart and says what is wrong with it."""
    message = parse_text(text)
    assert isinstance(message, BadMessage)
    assert any(part in message.reason.lower() for part in reason.lower().split("|")), message.reason


def test_a_bad_message_is_cut_to_a_bound() -> None:
    """A megabyte of nonsense leaves a line."""
    message = parse_text(b"x" * 1_000_000)
    assert isinstance(message, BadMessage)
    assert len(message.excerpt) <= 200


def test_not_a_number_is_read_as_the_server_writes_it() -> None:
    """Python's JSON has NaN; a server that sends one is not broken."""
    message = parse_text(b'{"type": "executed", "data": {"node": "3", "output": {"x": [NaN]}, "prompt_id": "p"}}')
    assert (message.kind, message.prompt_id) == ("executed", "p")


def test_a_number_that_fits_no_column_is_none() -> None:
    """Python's JSON has no widest number; ours go into columns, and none of them may break the reader."""
    number = "1" + "0" * 400
    nodes = b'{"1": {"state": "running", "value": 0, "max": %s}, "odd": NaN}' % number.encode()
    states = parse_text(b'{"type": "progress_state", "data": {"prompt_id": "p", "nodes": %s}}' % nodes)
    assert isinstance(states, ProgressState)
    assert states.node("1") is None
    for kind, data in (
        ("status", '{"status": {"exec_info": {"queue_remaining": %s}}, "odd": NaN}'),
        ("execution_start", '{"timestamp": %s, "odd": NaN}'),
        ("progress", '{"value": 1, "max": %s, "odd": NaN}'),
    ):
        assert isinstance(parse_text(f'{{"type": "{kind}", "data": {data % number}}}'), BadMessage)


def test_lone_surrogates_can_be_written_again() -> None:
    """A file name that is no UTF-8 reaches us as a surrogate, and does not break what we write."""
    message = parse_text(b'{"type": "executed", "data": {"node": "\\udcff", "prompt_id": "p"}}')
    assert orjson.dumps(message.raw)


def test_nodes_of_a_progress_state_are_looked_at_one_by_one() -> None:
    """A node that is not what a ComfyUI says is no node; the others are."""
    nodes = {"1": {"state": "running", "value": 2, "max": 10, "display_node_id": "9"}, "2": "?", "3": {"state": 4}}
    message = _text("progress_state", {"prompt_id": "p", "nodes": nodes})
    assert isinstance(message, ProgressState)
    first = message.node("1")
    assert first is not None
    assert (first.state, first.value, first.maximum, first.display_node_id) == ("running", 2.0, 10.0, "9")
    assert (message.node("2"), message.node("3"), message.node("4")) == (None, None, None)


def test_messages_of_old_servers() -> None:
    """Before 2024 `progress` had neither prompt nor node."""
    message = _text("progress", {"value": 1, "max": 20})
    assert isinstance(message, Progress)
    assert (message.prompt_id, message.node, message.maximum) == (None, None, 20)


def test_preview_images() -> None:
    """A picture of type 1 says its format and nothing else."""
    message = parse_binary(bytes([0, 0, 0, 1, 0, 0, 0, 2]) + b"\x89PNG")
    assert isinstance(message, PreviewImage)
    assert (message.image_type, message.image, message.prompt_id) == ("image/png", b"\x89PNG", None)
    odd = parse_binary(bytes([0, 0, 0, 1, 0, 0, 0, 9]))
    assert isinstance(odd, PreviewImage)
    assert odd.image_type == "format 9"


def test_preview_images_with_metadata() -> None:
    """A picture of type 4 names its prompt and its node."""
    metadata = json.dumps({"prompt_id": "p", "node_id": "4", "image_type": "image/jpeg", "new": 1}).encode()
    message = parse_binary(b"\0\0\0\4" + len(metadata).to_bytes(4, "big") + metadata + b"\xff\xd8")
    assert isinstance(message, PreviewWithMetadata)
    assert (message.prompt_id, message.node_id, message.image) == ("p", "4", b"\xff\xd8")
    assert message.raw["new"] == 1


def test_progress_text() -> None:
    """A line of text is about a node and about no prompt."""
    message = parse_binary(b"\0\0\0\3\0\0\0\x012width: 5")
    assert isinstance(message, ProgressText)
    assert (message.node_id, message.text, message.prompt_id) == ("2", "width: 5", None)


@pytest.mark.parametrize(
    "frame",
    [b"", b"\0\0\0", b"\0\0\0\1\0", b"\0\0\0\3\0\0\0\5ab", b"\0\0\0\4\xff\xff\xff\xff{}", b"\0\0\0\4\0\0\0\2[]"],
)
def test_short_frames_are_bad_messages(frame: bytes) -> None:
    """A binary frame that is cut off says so."""
    assert isinstance(parse_binary(frame), BadMessage)


def test_unknown_binary_types_are_kept() -> None:
    """A binary type of a later version is a message all the same."""
    message = parse_binary(b"\0\0\0\x07abc")
    assert (message.kind, isinstance(message, Unknown)) == ("binary 7", True)


def test_the_kinds_say_what_they_are() -> None:
    """Status and errors carry what the harness decides by."""
    status = _text("status", {"status": {"exec_info": {"queue_remaining": 4}}, "sid": "c"})
    assert isinstance(status, Status)
    assert (status.queue_remaining, status.sid) == (4, "c")
    error = _text(
        "execution_error", {"prompt_id": "p", "exception_type": "E", "exception_message": "m", "node_id": "2"}
    )
    assert isinstance(error, ExecutionError)
    assert (error.exception_type, error.exception_message, error.node_id) == ("E", "m", "2")
    assert len(repr(_text("executed", {"output": {"x": "y" * 10_000}}))) < 200


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_text_frame_ever_raises(frame: bytes | str) -> None:
    """Whatever stands in a text frame is a message."""
    assert parse_text(frame).kind


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5) | JSON)
def test_no_field_of_any_type_ever_raises(kind: str, data: Any) -> None:
    """Known kinds with fields of any type are messages or bad messages, also looked at node by node."""
    message = _text(kind, data)
    assert message.kind in {kind, "bad"}
    assert isinstance(message.rest, dict)
    if isinstance(message, ProgressState):
        for node_id in message.nodes:
            message.node(node_id)


@given(
    st.binary(max_size=64) | st.builds(lambda kind, rest: bytes([0, 0, 0, kind]) + rest, st.integers(0, 9), st.binary())
)
def test_no_binary_frame_ever_raises(frame: bytes) -> None:
    """Whatever stands in a binary frame is a message."""
    assert parse_binary(frame).kind

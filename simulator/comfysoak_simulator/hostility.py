"""What a broken server or proxy puts on the wire: the rubbish of the hostile-messages fault."""

from __future__ import annotations

from random import Random

import orjson

from comfysoak_simulator.sockets import framed

_TEXT, _BINARY = 0x81, 0x82
_WRONG = (
    b'{"type": "progress", "data": {"value": ',
    b"not json at all",
    b"[]",
    b'"status"',
    b"null",
    b"{}",
    b'{"type": null, "data": null}',
    b'{"type": "status", "data": {"status": 7}}',
    b'{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": "many"}}}}',
    b'{"type": "progress", "data": {"value": "x", "max": null, "prompt_id": 5, "node": []}}',
    b'{"type": "progress_state", "data": {"nodes": [1, 2, 3], "prompt_id": {}}}',
    b'{"type": "executing", "data": []}',
    b'{"type": "executed", "data": {"node": "1", "output": {"images": "none"}, "prompt_id": null}}',
    b'{"type": "execution_error", "data": {"traceback": 1, "exception_message": {"a": [true]}}}',
    b'{"type": "<script>alert(1)</script>", "data": {"\\u0000": 1e308}}',
    b'{"type": "tomorrow\'s news", "data": {"deep": ' + b"[" * 200 + b"]" * 200 + b"}}",
    '{"type": "status\u202e", "data": "\ud7ff"}'.encode(),
)
_WRONG_BINARY = (b"", b"\x00", b"\x00\x00\x00\x01", b"\x00\x00\x00\x63hello", b"\x00\x00\x00\x04\xff\xff\xff\xff{}")


def rubbish(random: Random, huge_bytes: int) -> bytes:
    """One frame that no client should have to see."""
    choice = random.randrange(len(_WRONG) + len(_WRONG_BINARY) + 1)
    if choice < len(_WRONG):
        return framed(_TEXT, _WRONG[choice])
    if choice < len(_WRONG) + len(_WRONG_BINARY):
        return framed(_BINARY, _WRONG_BINARY[choice - len(_WRONG)])
    return framed(_TEXT, orjson.dumps({"type": "huge", "data": {"text": "x" * huge_bytes}}))

"""JSON as a ComfyUI writes it: mostly JSON, and bounded and harmless whatever it is.

The server writes with Python's `json`, which lets NaN and lone surrogates pass; a strict reader refuses both. Here
they are read, and what cannot be written again (lone surrogates) is replaced.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import orjson

MAX_BYTES: Final = 64 * 1024 * 1024  # a ComfyUI's largest documents (/object_info, a full /history) stay below
EXCERPT_CHARACTERS: Final = 200
MAX_TEXT: Final = 2000  # characters of one text a server wrote
MAX_ID: Final = 200  # characters of a node id
WHOLE_BELOW: Final = 2**63  # what fits a column of 64 bits; JSON knows no bound

_ODD = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotJsonError(ValueError):
    """The text is no JSON; the message says what is wrong with it in a few words."""


def decode(text: bytes | str) -> Any:  # a document of any shape
    """The document in `text`. Raises NotJsonError: broken, too deep, or larger than `MAX_BYTES`."""
    if len(text) > MAX_BYTES:
        raise NotJsonError(f"{len(text)} bytes, more than the {MAX_BYTES} that are read")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        odd = _decode_odd(text)
        if odd is _NOT_ODD:
            raise NotJsonError(str(error)) from None
        return odd


_NOT_ODD: Final = object()


def _decode_odd(text: bytes | str) -> Any:
    """What only Python's own reader takes, or `_NOT_ODD`."""
    raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if not _ODD.search(raw):
        return _NOT_ODD
    try:
        return _writable(json.loads(raw))
    except (ValueError, RecursionError):
        return _NOT_ODD


def _writable(value: Any) -> Any:
    """`value` with lone surrogates replaced, so that it can be written as UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {_writable(key): _writable(item) for key, item in value.items()}
    return value


def excerpt(text: bytes | str, characters: int = EXCERPT_CHARACTERS) -> str:
    """The beginning of `text` on one line, for an error message."""
    head = text[: 4 * characters]
    shown = head.decode("utf-8", "replace") if isinstance(head, bytes) else _SURROGATE.sub("\ufffd", head)
    shown = " ".join(shown.split())
    return shown if len(shown) <= characters else shown[: characters - 3] + "..."


def bounded(text: str, characters: int) -> str:
    """`text`, cut after `characters` with three dots in the place of the rest."""
    return text if len(text) <= characters else text[: characters - 3] + "..."


def both_ends(text: str, characters: int = MAX_TEXT) -> str:
    """`text`, cut in its middle: of an exception the beginning says what, and the end often why."""
    if len(text) <= characters:
        return text
    tail = characters // 4
    return f"{text[: characters - tail - 5]} ... {text[-tail:]}"


def document_or_none(body: bytes) -> Any:  # a document of any shape
    """The document in `body`; None when there is none."""
    try:
        return decode(body)
    except NotJsonError:
        return None


def text_or_none(value: object, characters: int = MAX_TEXT) -> str | None:
    """`value` cut to a bound, if it is a text."""
    return bounded(value, characters) if isinstance(value, str) else None


def number_or_none(value: object) -> float | None:
    """`value` if it is a number, and not NaN or infinite."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    return value if type(value) is int and abs(value) < WHOLE_BELOW else None


def whole_or_none(value: object) -> int | None:
    """`value` as a whole number that fits a column of 64 bits, if it is a number."""
    number = number_or_none(value)
    return int(number) if number is not None and abs(number) < WHOLE_BELOW else None


def texts_or_none(value: object) -> tuple[str, ...] | None:
    """The texts in `value`, if it is a list."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else None

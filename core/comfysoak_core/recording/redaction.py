"""Secrets never reach a recording: command lines, URLs and settings pass through here before they are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

HIDDEN = "[redacted]"

# The last word of a name says whether it holds a secret: `api_key` and `HF_TOKEN` do, `token_normalization` not.
_SECRET_WORD = r"(?:key|keys|token|tokens|password|passwd|passphrase|pwd|secret|secrets|credential|credentials|auth|authorization|cookie|signature)"  # noqa: E501, S105  # one alternation; a pattern, no password
_NAME = rf"(?:[A-Za-z0-9_.-]*[_.-])?{_SECRET_WORD}|[A-Za-z0-9]*(?:apikey|accesskey|secretkey|authtoken|accesstoken)"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s&;,\"']+)"

_USERINFO = re.compile(r"(?P<head>\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s\"'@]*(?:@[^/?#\s\"'@]*)*@")
_ASSIGNED = re.compile(rf"(?P<head>(?<![A-Za-z0-9_.-])-{{0,2}}(?:{_NAME})\s*=\s*){_VALUE}", re.IGNORECASE)
_OPTION = re.compile(rf"(?P<head>(?<!\S)-{{1,2}}(?:{_NAME})\s+)(?!-){_VALUE}", re.IGNORECASE)
_QUOTED = re.compile(rf"(?P<head>[\"'](?:{_NAME})[\"']\s*:\s*)(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE)
# A ring bearer in a picture's text is no secret: a token has a digit in it, or is long.
_BEARER = re.compile(
    r"(?P<head>\bbearer\s+)(?:(?=[A-Za-z._~+/=-]*[0-9])[A-Za-z0-9._~+/=-]{6,}|[A-Za-z._~+/=-]{20,})", re.IGNORECASE
)
_HEADER = re.compile(
    r"(?P<head>\b(?:authorization|x-api-key|x-auth-token|api-key|cookie|set-cookie)\s*:\s*)[^\r\n\"']+",
    re.IGNORECASE,
)
_KNOWN = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[opsu]_[A-Za-z0-9]{20,}|comfyui-[0-9a-f]{32,})")

_SECRET_NAME = re.compile(rf"(?:{_NAME})\Z", re.IGNORECASE)
_SECRET_OPTION = re.compile(rf"-{{1,2}}(?:{_NAME})\Z", re.IGNORECASE)


def redact(text: str) -> str:
    """`text` with userinfo of URLs, values of secret options and variables, and bearer tokens replaced.

    What is taken for a secret by its name: the value after `--api-key`, `--hf-token=`, `PASSWORD=`, `?token=`,
    `"secret": ` and their like.
    """
    text = _USERINFO.sub(rf"\g<head>{HIDDEN}@", text)
    for pattern in (_HEADER, _BEARER, _QUOTED, _ASSIGNED, _OPTION):
        text = pattern.sub(rf"\g<head>{HIDDEN}", text)
    return _KNOWN.sub(HIDDEN, text)


def redact_argv(arguments: Iterable[str]) -> tuple[str, ...]:
    """A command line, word by word: a word after a secret option (`--token`, `abc`) is hidden too."""
    kept: list[str] = []
    hide_next = False
    for argument in arguments:
        kept.append(HIDDEN if hide_next and not argument.startswith("--") else redact(argument))
        hide_next = _SECRET_OPTION.match(argument) is not None
    return tuple(kept)


def redact_json(value: Any) -> Any:  # any JSON value, and the same shape back
    """A JSON value with all texts redacted, and those under a secret's name hidden."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return list(redact_argv(value)) if _is_argv(value) else [redact_json(item) for item in value]
    if isinstance(value, dict):
        return {name: _redact_member(str(name), item) for name, item in value.items()}
    return value


def _redact_member(name: str, value: Any) -> Any:  # any JSON value
    if isinstance(value, str) and value and _SECRET_NAME.match(name):
        return HIDDEN
    return redact_json(value)


def _is_argv(value: list[Any] | tuple[Any, ...]) -> bool:
    return bool(value) and all(isinstance(item, str) for item in value)

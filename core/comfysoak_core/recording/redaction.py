"""Secrets never reach a recording: command lines, URLs and settings pass through here before they are kept.

Most are known by their look or by the name before them. The token of the target is known by its value: the processes
of a run find the names of the variables that hold such values in COMFYSOAK_SECRET_VARIABLES, and whatever a server
says of it is hidden in all they write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, AnyStr

HIDDEN = "[redacted]"

SECRET_VARIABLES = "COMFYSOAK_SECRET_VARIABLES"  # noqa: S105  # names of variables, by commas; no secret
_ALWAYS = ("COMFYSOAK_TOKEN",)  # what plain Locust takes its token from
_SHORTEST = 6  # what is shorter would be found in any text
_TELLING = 8  # so much of the beginning gives a secret away, as where a server's words were cut off

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


def hide_value_of(variable: str) -> None:
    """From now on, in this process and in those it starts, the value of this environment variable is a secret."""
    names = _names()
    if variable not in names:
        os.environ[SECRET_VARIABLES] = ",".join((*names, variable))


def known_secrets() -> tuple[str, ...]:
    """The values that are secret by themselves, whatever stands before them."""
    values = (os.environ.get(name, "") for name in (*_names(), *_ALWAYS))
    return tuple(dict.fromkeys(value for value in values if len(value) >= _SHORTEST))


def hide(text: AnyStr, secret: AnyStr, hidden: AnyStr) -> AnyStr:
    """`text` with `hidden` in the place of the secret, and of a beginning of it that is long enough to tell."""
    if secret[:_TELLING] not in text:
        return text
    kept = text.split(secret[:_TELLING])
    for index in range(1, len(kept)):
        kept[index] = kept[index][_common(kept[index], secret[_TELLING:]) :]
    return hidden.join(kept)


def _common(part: str | bytes, tail: str | bytes) -> int:
    """How many characters both begin with."""
    most = min(len(part), len(tail))
    return next((length for length in range(most, 0, -1) if part[:length] == tail[:length]), 0)


def _names() -> tuple[str, ...]:
    return tuple(name for name in os.environ.get(SECRET_VARIABLES, "").split(",") if name)


def redact(text: str) -> str:
    """`text` with userinfo of URLs, values of secret options and variables, and bearer tokens replaced.

    What is taken for a secret by its name: the value after `--api-key`, `--hf-token=`, `PASSWORD=`, `?token=`,
    `"secret": ` and their like.
    """
    for secret in known_secrets():
        text = hide(text, secret, HIDDEN)
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

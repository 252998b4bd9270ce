r"""Env files, read as Docker Compose and python-dotenv read them.

    NAME=value            # a comment after a space
    export NAME="escapes: \n \" and ${OTHER:-a default}"
    NAME='{                as it stands, over several lines: the form for JSON
      "1": {}
    }'

Where the two differ: `${...}` is left alone in single quotes (Compose), and `$NAME` without braces everywhere
(python-dotenv). A line that is no assignment is left out (python-dotenv; Compose refuses the whole file).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from comfysoak_core.errors import UsageError

MAX_BYTES: Final = 16 * 1024 * 1024
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(=?)[ \t]*")
_SINGLE = re.compile(r"'((?:\\'|[^'])*)'")
_DOUBLE = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_REST_OF_LINE = re.compile(r"[^\n]*")
_NOTHING_MORE = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_ESCAPE = re.compile(r"""\\([\\'"abfnrtv$])""")
_ESCAPED: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^}]*))?\}")

Assigned = Mapping[str, tuple[str, int]]  # name -> value and the line it begins in, from 1; the last one wins


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A line that is no assignment. `name`: the variable it was meant for; empty where it names none.

    Of its text nothing is kept: what was meant as a value may be a secret.
    """

    number: int  # from 1
    name: str
    flaw: str
    remedy: str


Unread = tuple[UnreadLine, ...]
_ANY_FLAW: Final = (
    "is no assignment",
    "Put values of several lines into single quotes; Docker Compose refuses the whole file as it is.",
)
_FLAWS: Final = (
    (
        re.compile(r"-[ \t]*(?:export[ \t]+)?[\"']?([A-Za-z_]\w*)[ \t]*[=:]"),
        "begins with a dash, as in compose.yaml",
        "Take the dash away: an env file has NAME=value.",
    ),
    (re.compile(r"([A-Za-z_]\w*)[ \t]*:"), "has a colon in place of =", "Write NAME=value, as an env file has it."),
    (
        re.compile(r"(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*\""),
        "has double quotes that end too early, or never",
        "Put the value into single quotes: JSON is full of double ones.",
    ),
    (
        re.compile(r"(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*'"),
        "has single quotes that end too early, or never",
        r"Write an apostrophe within the value as \u0027, which means the same in JSON.",
    ),
)


def read_env_file(path: Path, environment: Mapping[str, str]) -> tuple[Assigned, Unread]:
    """What the file assigns; UsageError when it cannot be read. `environment`: what `${...}` may name besides."""
    try:
        data = path.read_bytes()[:MAX_BYTES]
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--env-file {path} cannot be read: {error.strerror}", "Name a file that is there.") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line} is not UTF-8", "Save the file again as UTF-8.") from None
    return parse_env(text, environment)


def parse_env(text: str, environment: Mapping[str, str]) -> tuple[Assigned, Unread]:
    """What a text assigns, and its lines that are no assignment."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    assigned: dict[str, tuple[str, int]] = {}
    unread: list[UnreadLine] = []
    position, line = 0, 1
    while position < len(text):
        end, name, value = _binding(
            text, position, {**environment, **{key: said for key, (said, _) in assigned.items()}}
        )
        taken = text[position:end]
        if name is not None and value is not None:
            assigned[name] = (value, line)
        elif name is None and taken.strip() and not taken.lstrip().startswith("#"):
            unread.append(_unread(line, taken.strip()))
        position, line = end + 1, line + taken.count("\n") + 1
    return assigned, tuple(unread)


def _binding(text: str, start: int, known: Mapping[str, str]) -> tuple[int, str | None, str | None]:
    """Where the assignment that begins at `start` ends, its name and value; no name: the line is none."""
    whole_line = _end_of_line(text, start)
    head = _NAME.match(text, start)
    if head is None:
        return whole_line, None, None
    if not head[2]:  # a name alone: passed on from the environment by Compose, nothing to python-dotenv
        is_alone = _NOTHING_MORE.match(text, head.end())
        return whole_line, head[1] if is_alone else None, None
    for quoted, expands in ((_SINGLE, False), (_DOUBLE, True)):
        found = quoted.match(text, head.end())
        rest = _NOTHING_MORE.match(text, found.end()) if found else None
        if found and rest:
            return (
                rest.end(),
                head[1],
                _expanded(_unescaped(found[1]), known) if expands else found[1].replace("\\'", "'"),
            )
    if text[head.end() : head.end() + 1] in ("'", '"'):
        return whole_line, None, None  # a quote that is never closed, or with something behind it
    plain = _COMMENT.sub("", text[head.end() : whole_line]).rstrip()
    return whole_line, head[1], _expanded(plain, known)


def _unread(number: int, line: str) -> UnreadLine:
    for shape, flaw, remedy in _FLAWS:
        found = shape.match(line)
        if found:
            return UnreadLine(number, found[1], flaw, remedy)
    return UnreadLine(number, "", *_ANY_FLAW)


def _end_of_line(text: str, start: int) -> int:
    found = _REST_OF_LINE.match(text, start)
    return found.end() if found else len(text)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)


def _expanded(text: str, known: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: known.get(found[1]) or found[2] or "", text)

"""The words that users get of failures: do they say the cause, and what do they give away? Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.row import Row
from comfysoak_core.comfyui.json_text import bounded

ID: Final = "errors.words"
# What may be told in the same words: a user can do the same about each.
_CAUSES: Final = {
    "errors.unreachable": "ComfyUI away",
    "errors.refused": "ComfyUI away",
    "errors.server_error": "ComfyUI away",
    "errors.frozen": "ComfyUI away",
    "errors.cut": "ComfyUI away",
    "errors.lost_end": "ComfyUI away",
    "errors.workflow": "a broken workflow",
    "errors.unknown_node": "a broken workflow",
    "errors.mapping": "a broken workflow",
    "errors.node": "a node that raises",
    "errors.memory": "memory",
}
_ADDRESS: Final = re.compile(
    r"\b(?:https?|wss?)://[^\s\"'<>\\]+|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\blocalhost:\d+\b", re.IGNORECASE
)
_INSIDE: Final = re.compile(
    r"Traceback \(most recent call last\)|(?:/[\w.-]+){2,}\.py\b|File \"[^\"]+\"|[A-Z]:\\\\?[\w.-]+\\"
)
_SECRET_LEAST: Final = 6  # what is shorter is found in any text
_DIGITS: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to one failure: the row it belongs to, its words, and the whole of it as text."""

    id_: str
    words: str
    body: str


def words_row(answers: Sequence[Said], secrets: Iterable[str], hosts: Iterable[str]) -> Row:
    """`secrets` and `hosts` (`comfyui:8188`) must stand in none of the answers."""
    if not answers:
        return skipped(ID, "no failure was told in words: see the rows before")
    leaked = [
        one.id_ for one in answers if any(len(secret) >= _SECRET_LEAST and secret in one.body for secret in secrets)
    ]
    if leaked:
        remedy = (
            "Have the gateway answer with words of its own, never with what it was configured with; then change it."
        )
        return failed(ID, f"a secret of the configuration stands in the answer to {', '.join(leaked)}", remedy)
    given = _given_away(answers, tuple(hosts))
    vague = _vague(answers)
    if given or vague:
        return warning(ID, "; ".join((*given, *vague)), _remedy(given, vague))
    examples = ", ".join(dict.fromkeys(repr(bounded(one.words, 60)) for one in answers))
    return ok(ID, f"{len(answers)} answers, each with its cause, no secret and no address: {bounded(examples, 300)}")


def _given_away(answers: Sequence[Said], hosts: tuple[str, ...]) -> list[str]:
    found: dict[str, str] = {}
    for one in answers:
        inside = _INSIDE.search(one.body)
        address = _ADDRESS.search(one.body)
        if address is not None or any(host and host in one.body for host in hosts):
            found.setdefault("an address of the inside", one.id_)
        if inside is not None:
            found.setdefault("paths or a traceback of the server", one.id_)
    return [f"{what} stands in the answer to {id_}" for what, id_ in found.items()]


def _vague(answers: Sequence[Said]) -> list[str]:
    """Words that are the same for causes which have nothing in common, and no words at all."""
    causes: dict[str, dict[str, None]] = defaultdict(dict)
    for one in answers:
        causes[_DIGITS.sub("0", one.words.strip())][_CAUSES.get(one.id_, one.id_)] = None
    silent = list(causes.pop("", ()))
    told = [
        f"{bounded(words, 80)!r} is all that is said of {_listed(of)}" for words, of in causes.items() if len(of) > 1
    ]
    return told + ([f"not a word is said of {_listed(silent)}"] if silent else [])


def _listed(causes: Iterable[str]) -> str:
    *most, last = causes
    return f"{', '.join(most)} and {last}" if most else last


def _remedy(given: Sequence[str], vague: Sequence[str]) -> str:
    parts = []
    if given:
        parts.append("Keep raw exceptions in the log: answer with words of your own.")
    if vague:
        parts.append(
            "Say what kind of failure it was, with an id by which support finds it in the gateway's log: the cause "
            "stands only there, and in ComfyUI's history."
        )
    return " ".join(parts)

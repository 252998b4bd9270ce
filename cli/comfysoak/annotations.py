"""Workflow commands of GitHub Actions: lines of our output that it shows beside the change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from comfysoak_core.terminal import printable

if TYPE_CHECKING:
    from comfysoak.check.account import Account

LONGEST = 600
MOST = 10  # GitHub shows ten of a level and step
_GOALS = {"missed": "error", "undecided": "warning"}
_FINDINGS = {"critical": "error", "warning": "warning"}
_DOUBTS = {"invalid": "error", "caution": "warning"}


def wanted() -> bool:
    """Whether GitHub Actions reads along."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotation(level: str, title: str, message: str) -> str:
    """One command, on one line; text of servers cannot end it or begin another one."""
    return f"::{level} title={_escaped(title, ',:')}::{_escaped(message)[:LONGEST]}"


def of_verdict(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Goals that were not met, findings that weigh and are not accepted, doubts: the gravest first."""
    found = [
        (
            _GOALS.get(str(goal["standing"])),
            f"goal {goal['standing']}",
            f"{goal['text']}: measured {goal['value_text']}. {goal['reason']}",
        )
        for goal in verdict["goals"]
    ]
    found += [
        (_FINDINGS.get(str(one["severity"])), str(one["code"]), str(one["evidence"]))
        for one in verdict["findings"]
        if one.get("accepted") is None
    ]
    found += [
        (_DOUBTS.get(str(one["weight"])), str(one["name"]), f"{one['what']} {one['remedy']}")
        for one in verdict["doubts"]
    ]
    yield from _annotations(found)


def of_check(account: Account) -> Iterator[str]:
    """Rows that failed, then rows that warn."""
    levels = {"failed": "error", "warning": "warning"}
    return _annotations(
        (levels.get(row.state), row.kind.id, f"{row.kind.title}: {row.state}. {row.seen} {row.remedy}")
        for row in account.rows
    )


def _annotations(found: Iterable[tuple[str | None, str, str]]) -> Iterator[str]:
    """(level, title, message): the gravest first, as many as GitHub shows."""
    told = list(found)
    for level in ("error", "warning"):
        chosen = [(title, message) for of, title, message in told if of == level]
        yield from (annotation(level, f"ComfySoak: {title}", message.strip()) for title, message in chosen[:MOST])


def _escaped(text: str, besides: str = "") -> str:
    """Without control characters and line breaks (`printable`), and with what would end the command written as %XX."""
    escaped = printable(text).replace("%", "%25")
    for character in besides:
        escaped = escaped.replace(character, f"%{ord(character):02X}")
    return escaped

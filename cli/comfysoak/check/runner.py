"""Parts one after the other; each row of the check exactly once, whatever a part does."""

from __future__ import annotations

import traceback
from collections.abc import Generator, Iterator
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Final

from comfysoak.check.account import OURS
from comfysoak.check.checking import Checking, failed, skipped
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.redaction import HIDDEN, hide, known_secrets, redact
from comfysoak_core.terminal import printable

_PARTS: Final = "comfysoak.check.parts"
_REPORT_IT: Final = "Nothing for you to mend: please report it with what stands there. The other parts went on."


def check(checking: Checking) -> Generator[Row]:
    """All rows, part by part, each as soon as it is decided; close it to have a part that is at work tidy up."""
    for part in Part:
        yield from rows_of(part, checking)


def rows_of(part: Part, checking: Checking) -> Iterator[Row]:
    """The rows of one part."""
    return _timed(_looked_at(part, checking), checking)


def _timed(rows: Iterator[Row], checking: Checking) -> Iterator[Row]:
    """With how long each took, on one line each, and without secrets, should one have come so far."""
    began_ns = checking.steady_ns()
    for row in rows:
        ended_ns = checking.steady_ns()
        took_s = row.took_s if row.took_s is not None else (ended_ns - began_ns) / NS_PER_S
        seen, remedy = printable(redact(row.seen)), printable(_without_secrets(row.remedy))
        yield replace(row, seen=seen, remedy=remedy, took_s=took_s)
        began_ns = checking.steady_ns()


def _without_secrets(remedy: str) -> str:
    """A remedy may say `export TOKEN=...`: only what is known to be secret is hidden in it."""
    for secret in known_secrets():
        remedy = hide(remedy, secret, HIDDEN)
    return remedy


def _looked_at(part: Part, checking: Checking) -> Iterator[Row]:
    """The rows of a part. Where it breaks, the row that was due says so, and those after it are skipped."""
    due = [id_ for id_, kind in KINDS.items() if kind.part is part]
    broken = ""
    try:
        for row in _module(part).look(checking):
            due.remove(row.kind.id)
            yield row
    except Exception as error:  # noqa: BLE001  # whatever it is, the other parts go on
        broken = _where(error)
    if due:
        why = broken or "the part ended without a word about it"
        yield failed(due[0], f"{OURS}: {why}", _REPORT_IT)
        yield from (skipped(id_, f"not looked at: a mistake of ours at {due[0]}") for id_ in due[1:])


def _module(part: Part) -> ModuleType:
    """The part's module: what it loads is not wanted before."""
    return import_module(f"{_PARTS}.{part.name.lower()}")


def _where(error: Exception) -> str:
    """The error with the last place it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"

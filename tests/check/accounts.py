"""What checks came to, made up: for tests of how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from comfysoak.check.account import Account
from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.row import Row
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.codes import Code

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J</td></table><script>document.title='owned'</script><img src=http://evil.example/x>"
    "|[x](http://evil.example) @team #12\n## heading\u202e ]]>\x00"
)


def account(changed: Mapping[str, Row] | None = None, **fields: Any) -> Account:
    """All rows ok, those of gateway and errors skipped, but for what is changed."""
    made = {}
    for id_, kind in KINDS.items():
        made[id_] = ok(id_, f"seen of {id_}")
        if kind.part is Part.GATEWAY:
            made[id_] = skipped(id_, "no gateway was named")
        if kind.part is Part.ERRORS:
            made[id_] = skipped(id_, "not asked for: --errors")
    rows = tuple(replace(row, took_s=0.25) for row in (made | dict(changed or {})).values())
    began_at = datetime(2026, 11, 23, 4, 50, tzinfo=UTC)
    sound = Account(rows, "http://gpu-1:8188", "", "0.33.0", began_at, took_s=31.2, prompts_sent=6)
    return replace(sound, **fields)


def complaints(text: str = "node 4 names a model that is not there") -> dict[str, Row]:
    """A row that failed with a code, one without, and a warning; `text` stands in each."""
    return {
        "workflow.values": failed("workflow.values", text, f"Bring it. {text}", code=Code.VALIDATION_REJECTED),
        "socket.ping": failed("socket.ping", text, "Raise the proxy's timeout."),
        "nodes.seed": warning("nodes.seed", text, "Map a seed."),
    }

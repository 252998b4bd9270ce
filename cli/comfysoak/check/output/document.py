"""`--json`: a versioned document. What it holds stands in docs/check.md."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

import orjson

from comfysoak.check.account import Account
from comfysoak.check.output.words import headline, next_step
from comfysoak.check.row import Row, State
from comfysoak_core.guide import place_of

VERSION: Final = 1


def as_text(account: Account) -> str:
    """The document, indented."""
    return orjson.dumps(document(account), option=orjson.OPT_INDENT_2).decode()


def document(account: Account) -> dict[str, Any]:
    """The document: what was checked, how it came out, and all rows in order."""
    return {
        "version": VERSION,
        "made_by": f"comfysoak {version('comfysoak')}",
        "began_at": account.began_at.isoformat(timespec="seconds"),
        "took_s": round(account.took_s, 3),
        "target": account.target or None,
        "gateway": account.gateway or None,
        "comfyui_version": account.comfyui_version or None,
        "prompts_sent": account.prompts_sent,
        "interrupted": account.interrupted is not None,
        "conclusion": account.conclusion,
        "exit_code": int(account.exit_code),
        "headline": headline(account),
        "next_step": next_step(account),
        "counts": {state.value: account.counts.get(state, 0) for state in State},
        "rows": [row_of(row) for row in account.rows],
    }


def row_of(row: Row) -> dict[str, Any]:
    """A row as it stands in the document and in the log."""
    return {
        "id": row.kind.id,
        "part": row.kind.part.value,
        "title": row.kind.title,
        "state": row.state.value,
        "seen": row.seen,
        "remedy": row.remedy or None,
        "code": row.code.value if row.code is not None else None,
        "guide": place_of(row.kind.id),
        "took_s": None if row.took_s is None else round(row.took_s, 3),
    }

"""`--html`: one page that needs nothing else, in the dress of the report. It has no script."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Final

from comfysoak.check.account import Account
from comfysoak.check.output.words import counts_in_words, effort, headline, next_step, stamp
from comfysoak.check.row import Row, State
from comfysoak.check.rows import Part
from comfysoak_analysis import style
from comfysoak_core.guide import address_of

_PILLS: Final = {State.OK: "met", State.WARNING: "undecided", State.FAILED: "missed", State.SKIPPED: ""}


@dataclass(frozen=True, slots=True)
class PartView:
    """A part at a glance, and its rows."""

    anchor: str
    name: str
    value: str  # "Sound", "2 failed", ...
    note: str  # how much of it was looked at
    tone: str  # of a tile: bad, warn, off or empty
    rows: tuple[tuple[Row, ...], ...]  # one each; together those that were skipped for one reason


def page(account: Account) -> str:
    """The page."""
    parts = [_part(part, rows) for part, rows in account.by_part().items()]
    template = style.environment().get_template("check.html")
    return template.render(
        font=style.font(),
        css=style.css(),
        conclusion=account.conclusion,
        mark=stamp(account),
        headline=headline(account),
        counts=counts_in_words(account),
        next_step=next_step(account),
        facts=_facts(account),
        parts=parts,
        failed=account.of(State.FAILED),
        warned=account.of(State.WARNING),
        pills=_PILLS,
        guide=address_of,
        subject=account.target or account.gateway or "no target",
        version=version("comfysoak"),
    )


def _facts(account: Account) -> list[tuple[str, str]]:
    named = f"{account.target} ({account.comfyui_version})" if account.comfyui_version else account.target
    facts = [("ComfyUI", named), ("Gateway", account.gateway)]
    facts += [("Checked", account.began_at.strftime("%Y-%m-%d %H:%M UTC")), ("It took", effort(account))]
    return [(name, value) for name, value in facts if value]


def _part(part: Part, rows: tuple[Row, ...]) -> PartView:
    counts = Counter(row.state for row in rows)
    judged = len(rows) - counts[State.SKIPPED]
    value, tone = _standing(counts, judged)
    return PartView(
        anchor=f"part-{part.name.lower()}",
        name=part.value,
        value=value,
        note=f"{judged} of {len(rows)} looked at" if judged else _why_not(rows),
        tone=tone,
        rows=tuple(tuple(alike) for _, alike in groupby(rows, key=_alike)),
    )


def _alike(row: Row) -> str:
    """The same for rows that are told as one."""
    return f"skipped: {row.seen}" if row.state is State.SKIPPED else row.kind.id


def _standing(counts: Counter[State], judged: int) -> tuple[str, str]:
    """In a word, and the tone of its tile."""
    if counts[State.FAILED]:
        return f"{counts[State.FAILED]} failed", "bad"
    if counts[State.WARNING]:
        return f"{counts[State.WARNING]} to note", "warn"
    return ("Sound", "") if judged else ("Not looked at", "off")


def _why_not(rows: tuple[Row, ...]) -> str:
    """Why a whole part was skipped: the reason most of its rows give."""
    return Counter(row.seen for row in rows).most_common(1)[0][0]

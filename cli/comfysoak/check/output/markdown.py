"""`--markdown`: the team's own checklist, line by line, ticked, failed or skipped, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Final

from comfysoak.check.account import Account
from comfysoak.check.checklist import CHECKLIST, DOCUMENTED, Line, Tick, tick_of, walk
from comfysoak.check.output.words import counts_in_words, effort, headline, next_step
from comfysoak.check.row import Row, State
from comfysoak_analysis.text import for_markdown as md
from comfysoak_core.guide import address_of

LONGEST: Final = 700  # characters of a text
_WORDS: Final = {Tick.TICKED: "", Tick.FAILED: " **failed**", Tick.SKIPPED: " *skipped*"}


def markdown(account: Account) -> str:
    """The whole document."""
    rows = {row.kind.id: row for row in account.rows}
    return "\n".join([*_head(account), *_sections(rows), *_foot()]) + "\n"


def _head(account: Account) -> Iterator[str]:
    yield "# ComfyUI integration: checklist"
    yield ""
    yield f"**{headline(account)}**: {counts_in_words(account)}."
    yield ""
    if account.target:
        yield f"- ComfyUI: {md(account.target)}{f' ({md(account.comfyui_version)})' if account.comfyui_version else ''}"
    if account.gateway:
        yield f"- Gateway: {md(account.gateway)}"
    yield f"- Checked: {account.began_at:%Y-%m-%d %H:%M} UTC, {effort(account)}"
    yield f"- Next: {md(next_step(account), LONGEST)}"


def _sections(rows: Mapping[str, Row]) -> Iterator[str]:
    for section in CHECKLIST:
        yield from ("", f"## {section.heading}", "")
        for depth, line in walk(section.lines):
            yield from _line(line, depth, rows)


def _line(line: Line, depth: int, rows: Mapping[str, Row]) -> Iterator[str]:
    indent = "  " * depth
    tick = tick_of(line, rows)
    yield f"{indent}- [{'x' if tick is Tick.TICKED else ' '}] {line.text}{_WORDS[tick]}"
    if line.below:
        return
    for said in (*_evidence(line, rows), *_documented(line)):
        yield f"{indent}  - {said}"


def _evidence(line: Line, rows: Mapping[str, Row]) -> Iterator[str]:
    """A line a row; those skipped for one reason together."""
    skipped: dict[str, list[str]] = {}
    for id_ in line.all_rows():
        row = rows.get(id_)
        if row is None or row.state is State.SKIPPED:
            skipped.setdefault(row.seen if row is not None else "the check was interrupted", []).append(id_)
        else:
            yield _told(row)
    for why, ids in skipped.items():
        yield f"skipped {', '.join(f'`{id_}`' for id_ in ids)}: {md(why, LONGEST)}"


def _told(row: Row) -> str:
    said = f"{row.state.value} `{row.kind.id}`: {md(row.seen, LONGEST)}"
    if not row.remedy:
        return said
    return f"{said} → {md(row.remedy, LONGEST)} ([guide]({address_of(row.kind.id)}))"


def _documented(line: Line) -> Iterator[str]:
    """What needs no looking: it is written."""
    if line.text in DOCUMENTED:
        yield f"written: [the troubleshooting guide]({address_of('top')})"


def _foot() -> Iterator[str]:
    yield ""
    yield f"Made by comfysoak check {md(version('comfysoak'))}. A line is ticked when every row it needs was looked at"
    yield "and none failed."

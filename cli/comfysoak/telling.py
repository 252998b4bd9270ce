"""The verdict on stdout: one line that says it, one a goal, one a finding, and where the report is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import comfysoak.annotations as for_github
from comfysoak_core.terminal import printable

PLAIN_WIDTH = 160
LONGEST = 300  # characters of a cell
_COLOURS = {
    "passed": "green",
    "failed": "red",
    "undecided": "yellow",
    "not valid": "yellow",
    "watched": "cyan",
    "met": "green",
    "missed": "red",
    "critical": "red",
    "warning": "yellow",
    "invalid": "red",
    "caution": "yellow",
}


def tell_verdict(verdict: Mapping[str, Any], run_dir: Path) -> None:
    """Print the verdict as `verdict.json` holds it."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    conclusion = str(verdict["conclusion"])
    console.print(
        Text.assemble(
            (conclusion.upper(), f"bold {_COLOURS.get(conclusion, '')}"), "  ", printable(str(verdict["sentence"]))
        )
    )
    console.print(_rows(verdict["goals"], ("standing", "text", "value_text", "reason")))
    weighing = [one for one in verdict["findings"] if one.get("accepted") is None]
    if weighing:
        console.print(_rows(weighing, ("severity", "code", "count", "evidence")))
    for one in verdict["findings"]:
        if one.get("accepted") is not None:
            until, reason = one["accepted"]["until"], printable(str(one["accepted"]["reason"]))
            console.print(Text(f"  accepted  {one['code']}  {one['count']}  until {until}: {reason}", style="dim"))
    if verdict["doubts"]:
        console.print(_rows(verdict["doubts"], ("weight", "name", "what", "remedy")))
    for line in for_github.of_verdict(verdict) if for_github.wanted() else ():
        click.echo(line)
    click.echo(f"report  {run_dir / 'report.html'}")  # on one line, however long: people click on it


def _short(text: str) -> str:
    """Cut where a word ends; the report has the rest."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(' ')[0] or text[:LONGEST]} …"


def leave_stdout() -> None:
    """Nobody reads it any more: what is still to be written there goes nowhere, or Python complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """A table without lines; text of servers stays text (no markup)."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(min_width=2)
    for _ in columns:
        grid.add_column(overflow="fold")
    for row in rows:
        first, *rest = (str(row.get(column) if row.get(column) is not None else "") for column in columns)
        grid.add_row("", Text(first, style=_COLOURS.get(first, "")), *(Text(_short(printable(part))) for part in rest))
    return grid

"""A comparison on stdout: the answer, a table, what differs; and as annotations where GitHub Actions reads along."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from comfysoak.annotations import annotation, wanted
from comfysoak.telling import PLAIN_WIDTH
from comfysoak_core.terminal import printable

LONGEST = 400
_COLOURS = {
    "regression": "red",
    "no regression": "green",
    "cannot tell": "yellow",
    "not comparable": "yellow",
    "worse": "red",
    "better": "green",
    "no change shown": "green",
    "informs": "dim",
}
_COLUMNS = ("standing", "measure", "baseline", "new", "change", "matters", "p")
_LEVELS = {"regression": "error", "cannot tell": "warning", "not comparable": "warning"}


def tell_comparison(comparison: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    """Print a comparison as JSON has it, with its lines in words."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    conclusion = str(comparison["conclusion"])
    sentence = printable(str(comparison["sentence"]))
    console.print(Text.assemble((conclusion.upper(), f"bold {_COLOURS.get(conclusion, '')}"), "  ", sentence))
    if shown["lines"]:
        console.print(_table(shown["lines"], tuple(comparison["sides"])))
        console.print(Text(printable(str(shown["cases"]))))
    for remark in _remarks(comparison):
        console.print(Text(f"  {printable(remark)[:LONGEST]}"))
    if wanted() and conclusion in _LEVELS:
        click.echo(annotation(_LEVELS[conclusion], f"ComfySoak compare: {conclusion}", sentence))


def _remarks(comparison: Mapping[str, Any]) -> list[str]:
    old, new = comparison["sides"]
    differ = [
        f"differs: {one['what']}: {one['baseline']} ({old}), {one['new']} ({new})" for one in comparison["differences"]
    ]
    return [*comparison["remarks"], *differ, *(f"not valid: {reason}" for reason in comparison["invalid"])]


def _table(lines: Sequence[Mapping[str, Any]], sides: tuple[str, ...]) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for header in ("", "measure", *(printable(side) for side in sides), "change", "matters from", "p"):
        grid.add_column(Text(header, style="dim"), overflow="fold")
    for line in lines:
        first, *rest = (printable(str(line[column]))[:LONGEST] for column in _COLUMNS)
        grid.add_row(Text(first, style=_COLOURS.get(first, "")), *(Text(cell) for cell in rest))
    return grid

"""The live table as rich draws it: the board's lines in the width and height there is."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from comfysoak_probes.shown.board import Board
from comfysoak_probes.shown.lines import lines
from comfysoak_probes.shown.text import Line, fitted


class Panel:
    """The board as it is now, in the width and height there is."""

    def __init__(self, board: Board, now_ns: int) -> None:
        self._board = board
        self._now_ns = now_ns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        for line in fitted(lines(self._board, self._now_ns, width), options.size.height):
            yield from _segments(line, width)
            yield Segment.line()


def _segments(line: Line, width: int) -> Iterator[Segment]:
    """Made here and not by `Text`, which costs four times as much: it is drawn twice a second for days."""
    for span in line.within(width):
        if span.text:
            yield Segment(span.text, Style.parse(span.style) if span.style else None)

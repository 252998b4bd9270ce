"""The rows on a terminal as they are decided, by part; what is being done now on a line that is rewritten.

Rows go to stdout, the line of progress to stderr, and only to a terminal. Without a terminal a row is one line.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from comfysoak.check.account import Account
from comfysoak.check.output.words import counted, counts_in_words, effort, headline, next_step
from comfysoak.check.row import Row, State
from comfysoak.check.rows import KINDS, Part
from comfysoak_core.guide import place_of
from comfysoak_core.terminal import printable

PLAIN_WIDTH: Final = 10_000  # a line stays one where no terminal folds it
WIDE: Final = 110  # columns from which what was seen stands beside its title
LONGEST: Final = 1_200  # characters of a text
LASTS_S: Final = 2.0  # what takes longer is told with its seconds
_COLOURS: Final = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.SKIPPED: "dim"}
_STATE: Final = max(len(state) for state in State)
_TITLE: Final = 46
_LONGEST_TITLE: Final = max(len(kind.title) for kind in KINDS.values())


class Progress:
    """What is being done now, on one line of a terminal that the next one takes the place of.

    What lasts is told with its seconds, by a thread of its own, so that nobody takes it for dead. `close` at the end.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._words = ""
        self._since_s = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._is_wanted = stream.isatty() and not quiet
        if self._is_wanted:
            threading.Thread(target=self._keep_telling, name="progress", daemon=True).start()

    def say(self, words: str) -> None:
        """Show it in the place of what was shown before."""
        with self._lock:
            self._words, self._since_s = printable(words), self._clock()
            self._show()

    def tick(self) -> None:
        """Show for how long it has been so."""
        with self._lock:
            self._show()

    def clear(self) -> None:
        """Make way for a line of something else."""
        with self._lock:
            if self._words:
                self._write("\r\x1b[K")
                self._words = ""

    def close(self) -> None:
        """Show no more."""
        self.clear()
        self._ended.set()

    def _keep_telling(self) -> None:
        while not self._ended.wait(1.0):
            self.tick()

    def _show(self) -> None:
        if self._words:
            lasted_s = self._clock() - self._since_s
            after = f"  {lasted_s:.0f} s" if lasted_s >= LASTS_S else ""
            shown = Text(f"  … {self._words}")
            shown.truncate(max(Console(file=self._stream).width - 1 - len(after), 8), overflow="ellipsis")
            self._write(f"\r\x1b[K{shown.plain}{after}")

    def _write(self, text: str) -> None:
        if self._is_wanted:
            try:
                self._stream.write(text)
                self._stream.flush()
            except OSError:  # nobody is there any more
                self._is_wanted = False


class Sheet:
    """Tells rows as they come. Quiet: only those that complain, and how it came out."""

    def __init__(self, progress: Progress, *, quiet: bool = False) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # what a server says need not be in the terminal's alphabet
        self._is_terminal = sys.stdout.isatty()
        self._console = Console(highlight=False, width=None if self._is_terminal else PLAIN_WIDTH)
        self._progress = progress
        self._quiet = quiet
        self._part: Part | None = None
        self._alike: list[Row] = []  # skipped for one and the same reason: told as one

    def row(self, row: Row) -> None:
        """Tell a row; skipped ones wait for others that were skipped for the same reason."""
        if self._quiet and row.state in {State.OK, State.SKIPPED}:
            return
        if self._alike and (row.state is not State.SKIPPED or not _is_alike(row, self._alike[0])):
            self._tell_alike()
        if row.state is State.SKIPPED:
            self._alike.append(row)
        else:
            self._tell(row.kind.part, self._lines(row))

    def end(self, account: Account) -> None:
        """How it came out, and what to do next."""
        self._tell_alike()
        self._progress.clear()
        colour = {"passed": "green", "failed": "red"}.get(account.conclusion, "yellow")
        words = f"{counts_in_words(account)}  ({effort(account)})"
        print_(self._console, "", Text.assemble((headline(account).upper(), f"bold {colour}"), "  ", words))
        print_(self._console, Text(f"next  {_shown(next_step(account))}"))

    def _tell_alike(self) -> None:
        if self._alike:
            first, *others = self._alike
            title = first.kind.title if not others else f"{counted(len(self._alike), 'row')}, {_from_to(self._alike)}"
            self._tell(first.kind.part, self._beside(first.state, title, Text(_shown(first.seen), style="dim")))
            self._alike = []

    def _tell(self, part: Part, shown: RenderableType) -> None:
        self._progress.clear()
        if part is not self._part:
            print_(self._console, *([""] if self._part else []), Text(part.value, style="bold"))
            self._part = part
        print_(self._console, shown)

    def _lines(self, row: Row) -> RenderableType:
        seen = Text(_shown(row.seen))
        if not row.remedy:
            return self._beside(row.state, row.kind.title, seen)
        if self._is_terminal:
            return self._beside(row.state, row.kind.title, Group(seen, _remedy(row)))
        first = self._beside(row.state, row.kind.title, seen)
        return Group(first, Padding(_remedy(row), (0, 0, 0, 2 + _STATE + 2)))

    def _beside(self, state: State, title: str, seen: Text | Group) -> RenderableType:
        """Side by side where there is room, else one under the other."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=0)
        grid.add_column(width=_STATE)
        head = Text(state.value, style=_COLOURS[state])
        style = "dim" if state is State.SKIPPED else ""
        if self._is_terminal and self._console.width < WIDE:
            grid.add_column(overflow="fold")
            heading = Text(title, style=style or "bold")
            run_in = Text.assemble(heading, ": ", seen) if isinstance(seen, Text) else Group(heading, seen)
            grid.add_row("", head, run_in)
            return grid
        grid.add_column(width=_TITLE if self._is_terminal else _LONGEST_TITLE, overflow="fold")
        grid.add_column(overflow="fold")
        grid.add_row("", head, Text(title, style=style), seen)
        return grid


def print_(console: Console, *lines: RenderableType) -> None:
    """Each on a line of its own, with no blanks at its end."""
    for line in lines:
        with console.capture() as captured:
            console.print(line, soft_wrap=False)
        for text in captured.get().splitlines() or [""]:
            console.file.write(f"{text.rstrip()}\n")
    console.file.flush()


def _remedy(row: Row) -> RenderableType:
    """What to do, indented, and of a failure where the guide has more."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row("→", Text(_shown(row.remedy)))
    if row.state is State.FAILED:
        named = f"{row.code.value}, " if row.code is not None else ""
        grid.add_row("", Text(f"{named}{place_of(row.kind.id)}", style="dim"))
    return grid


def _is_alike(row: Row, other: Row) -> bool:
    return row.kind.part is other.kind.part and row.seen == other.seen


def _from_to(rows: list[Row]) -> str:
    return f"{rows[0].kind.id} to {rows[-1].kind.id}"


def _shown(text: str) -> str:
    """What a server may have had a part in: on one line, without what steers a terminal, and bounded."""
    plain = printable(text)
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST].rpartition(' ')[0] or plain[:LONGEST]} …"

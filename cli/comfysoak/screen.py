"""Where progress goes: a panel that renews itself in a terminal, a line every ten seconds elsewhere; always stderr.

A terminal that is closed, or a pipe nobody reads any more, ends the showing and never the run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from comfysoak.live import LiveState, line, panel
from comfysoak_core.clock import Clock
from comfysoak_core.recording.tail import NewRows
from comfysoak_core.scenario.plan import Plan
from comfysoak_core.terminal import printable

LINE_EVERY_S = 10.0


class Screen:
    """Shows the state of a run; `show` is what the supervisor calls."""

    def __init__(self, plan: Plan, clock: Clock, *, quiet: bool) -> None:
        self._clock = clock
        self._quiet = quiet
        self._state = LiveState(clock.now_ns(), plan.duration_s)
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._last_line_s = time.monotonic()
        self._doing = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._showing(self._stop)

    def say(self, words: str) -> None:
        """A line of its own, for a moment worth telling."""
        self._showing(lambda: self._say(words))

    def show(self, doing: str, batches: Sequence[NewRows]) -> None:
        """Take new rows of the journal and show the state when it is time to."""
        self._showing(lambda: self._show(doing, batches))

    def _showing(self, step: Callable[[], None]) -> None:
        """Take a step that writes; when nobody is there any more, stay quiet from now on."""
        try:
            step()
        except OSError:  # EIO of a closed terminal, EPIPE of a closed pipe
            self._quiet = True
            self._live = None

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _say(self, words: str) -> None:
        if self._quiet:
            return
        words = printable(words)  # worker machines say some of them
        if self._live is not None:
            self._live.console.print(words, style="dim", highlight=False, markup=False)
        else:
            print(words, file=sys.stderr, flush=True)

    def _show(self, doing: str, batches: Sequence[NewRows]) -> None:
        if doing != self._doing:
            self._begin(doing)
        for batch in batches:
            self._state.take(batch.table, batch.columns, batch.rows)
        if self._quiet:
            return
        if self._live is not None and doing in ("starting", "running"):
            self._live.update(panel(self._state, self._clock.now_ns()))
        elif doing == "running" and time.monotonic() - self._last_line_s >= LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            print(line(self._state, self._clock.now_ns()), file=sys.stderr, flush=True)

    def _begin(self, doing: str) -> None:
        self._doing = doing
        if doing == "running":
            self._state.started_ns = self._clock.now_ns()
            self._last_line_s = time.monotonic()
        if doing == "ending" and self._live is not None:
            self._live.update("", refresh=True)
        words = {"starting": "starting", "running": "load begins", "ending": "load has ended", "sealing": "sealing"}
        self._say(words.get(doing, doing))

"""`comfysoak probe`: the sampler alone, shown in the terminal and, if asked for, recorded to a run directory."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.live import Live

from comfysoak_core.clock import NS_PER_S, Anchor, AnchoredClock, Clock
from comfysoak_core.errors import ExitCode
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Row
from comfysoak_probes.config import SamplerConfig
from comfysoak_probes.remote.listening import Listening, ListenOn
from comfysoak_probes.sampling.sampler import JournalSink, Sampler, Sink, Stop
from comfysoak_probes.shown.board import Board
from comfysoak_probes.shown.panel import Panel
from comfysoak_probes.sources import add_sources

SHOW_EVERY_NS = NS_PER_S // 2
LINE_EVERY_NS = 10 * NS_PER_S
NAME = "probe"


def probe(
    config: SamplerConfig,
    *,
    listen: ListenOn | None = None,
    out: Path | None = None,
    seconds: float | None = None,
    console: Console | None = None,
) -> ExitCode:
    """Sample until Ctrl-C, SIGTERM or the end of `seconds`, and show what there is.

    `listen`: where others can fetch what is sampled. `out`: the folder in which a run directory is made and recorded
    to. Raises UsageError when either cannot be.
    """
    console = console or Console()
    clock = AnchoredClock(Anchor.from_environment())
    host = socket.gethostname()
    stop = Stop()
    with ExitStack() as stack:
        stack.callback(stop.close)
        stop.on_signals()
        sinks: list[Sink] = []
        if listen is not None:
            sinks.append(stack.enter_context(_listening(listen, config, clock=clock, host=host, console=console)))
        if out is not None:
            sinks.append(stack.enter_context(_Recorded(out, clock=clock, host=host, stop=stop, console=console)))
        sinks.append(stack.enter_context(_shown_on(console, clock)))
        sampler = Sampler(_Both(sinks), clock, host=host, tell=_quiet)
        add_sources(sampler.add, sampler.remove, config, clock, host=host)
        sampler.run(stop, None if seconds is None else clock.now_ns() + round(seconds * NS_PER_S))
    codes: dict[int, ExitCode] = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
    return codes.get(stop.signal, ExitCode.OK)


def _listening(on: ListenOn, config: SamplerConfig, *, clock: Clock, host: str, console: Console) -> Listening:
    """The sink that serves, once it is known to listen; says so."""
    listening = Listening(on, clock, host=host, version=version("comfysoak"), every_s=config.every_s)
    for hint in listening.hints():
        console.print(hint, markup=False, highlight=False, soft_wrap=True)
    return listening


def _quiet(_: str) -> None:
    """The board shows events already."""


class _Both:
    """Rows to several sinks."""

    def __init__(self, sinks: Iterable[Sink]) -> None:
        self._sinks = tuple(sinks)

    def take(self, rows: Iterable[Row]) -> None:
        kept = list(rows)
        for sink in self._sinks:
            sink.take(kept)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


class _Recorded:
    """A run directory with its recorder beside; sealed at the end."""

    def __init__(self, out: Path, *, clock: Clock, host: str, stop: Stop, console: Console) -> None:
        self._stop = stop
        self._console = console
        # Recording is imported where it is needed: a probe that only shows does without its models.
        from comfysoak_core.recording.recording import Recording

        self._recording = Recording.create(out, NAME, clock=clock, argv=sys.argv)
        self._journal = JournalSink(
            Journal(self._recording.path / "journal", host=host, process="sampler", clock=clock)
        )

    def __enter__(self) -> Self:
        from comfysoak_core.recording.start import start_recorder

        self._console.print(f"recording to {self._recording.path}", highlight=False)
        self._recorder: subprocess.Popen[bytes] = start_recorder(self._recording.path)
        return self

    def take(self, rows: Iterable[Row]) -> None:
        self._journal.take(rows)

    def close(self) -> None:
        self._journal.close()

    def __exit__(self, *_: object) -> None:
        from comfysoak_core.recording.run_file import EndReason
        from comfysoak_core.recording.start import seal_run, stop_recorder

        stop_recorder(self._recorder)
        self._recording.release()
        ends: dict[int, EndReason] = {signal.SIGINT: EndReason.INTERRUPTED, signal.SIGTERM: EndReason.TERMINATED}
        seal_run(self._recording.path, ends.get(self._stop.signal, EndReason.FINISHED))


class _Table:
    """A table that renews itself."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._board = Board()
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._due_ns = 0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def take(self, rows: Iterable[Row]) -> None:
        self._board.take(rows)
        now_ns = self._clock.now_ns()
        if now_ns >= self._due_ns:
            self._due_ns = now_ns + SHOW_EVERY_NS
            self._live.update(Panel(self._board, now_ns), refresh=True)

    def close(self) -> None:
        self._live.update(Panel(self._board, self._clock.now_ns()), refresh=True)


class _Printed:
    """A line every ten seconds, for a log."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._board = Board()
        self._console = console
        self._clock = clock
        self._due_ns = clock.now_ns() + NS_PER_S

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def take(self, rows: Iterable[Row]) -> None:
        self._board.take(rows)
        if self._clock.now_ns() >= self._due_ns:
            self._due_ns = self._clock.now_ns() + LINE_EVERY_NS
            self._print()

    def close(self) -> None:
        self._print()

    def _print(self) -> None:
        while self._board.notes:
            self._console.print(str(self._board.notes.popleft()), markup=False, highlight=False, soft_wrap=True)
        line = self._board.line(self._clock.now_ns())
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _shown_on(console: Console, clock: Clock) -> AbstractContextManager[Sink]:
    return _Table(console, clock) if console.is_terminal else _Printed(console, clock)

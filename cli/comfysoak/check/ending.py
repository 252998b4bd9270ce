"""Signals end a check in good order: what it is at is tidied up, and what was decided until then is told."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from comfysoak_core.errors import ExitCode

_ENDS: Final = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.TERMINATED,
}
_PATIENCE: Final = 2  # so many signals more are answered with words; the next one ends the tidying up too


class Interrupted(KeyboardInterrupt):
    """A signal came. Raised where the check stands, so that `finally` and context managers put things back."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__()
        self.code = code


@contextmanager
def signals_raised(on_first: Callable[[ExitCode], None] = lambda _: None) -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP raises Interrupted in the main thread; while it tidies up, others wait.

    One that is ignored stays so: that is what `nohup` is for. `on_first` is called before anything is tidied up.
    """
    heeded = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]
    came: list[int] = []

    def take(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        if 1 < len(came) <= 1 + _PATIENCE:
            sys.stderr.write("\nputting back what this check has changed; once more to leave it as it is\n")
            return
        if len(came) == 1:
            on_first(_ENDS[signal.Signals(number)])
        raise Interrupted(_ENDS[signal.Signals(number)])

    before = {number: signal.signal(number, take) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

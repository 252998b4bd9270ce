"""A child that outlives its supervisor would go on loading somebody's GPU: this is what prevents it.

The supervisor keeps the write end of each child's standard input open. When the supervisor ends, however it ends, the
kernel closes that pipe, and the child gets SIGTERM from itself, then ends for good. What it writes there until then are
words to the child, a line each (`words`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

LIFELINE_VARIABLE = "COMFYSOAK_LIFELINE"
GRACE_S = 1.0
WORDS_KEPT = 100  # of a child that never asks for them
_words: deque[str] = deque(maxlen=WORDS_KEPT)


def hold(grace_s: float = GRACE_S, *, hears: bool = True) -> bool:
    """Watch standard input when the supervisor asked for it; True when it is being watched.

    At its end this process gets SIGTERM, and `grace_s` later it is gone whatever it is doing. The watcher is a
    thread of the operating system below any monkey-patching, so a busy gevent loop cannot delay it. Call this in
    each process, after any fork: threads do not survive one. Of processes that share a standard input only one may
    have it read (`hears`): a word is for one reader.
    """
    if os.environ.get(LIFELINE_VARIABLE) != "1":
        return False
    wait = (
        _listen(_original("os", "read"))
        if hears or not hasattr(select, "poll")
        else _await_end(_original("select", "poll"))
    )
    start_thread = _original("_thread", "start_new_thread")
    start_thread(_end_with_parent, (wait, _original("time", "sleep"), grace_s))
    return True


def words() -> list[str]:
    """The lines the supervisor has written since the last call."""
    return [_words.popleft() for _ in range(len(_words))]


def _listen(read: Callable[[int, int], bytes]) -> Callable[[], None]:
    def wait() -> None:
        begun = b""
        while said := read(0, 4096):
            *lines, begun = (begun + said).split(b"\n")
            _words.extend(line.decode("utf-8", "replace") for line in lines)

    return wait


def _await_end(poll: Any) -> Callable[[], None]:  # the class, which has no name of its own everywhere
    def wait() -> None:
        watched = poll()
        watched.register(0, 0)  # whatever is asked for, the end is told
        watched.poll()

    return wait


def _end_with_parent(wait: Callable[[], None], sleep: Callable[[float], None], grace_s: float) -> None:
    with contextlib.suppress(OSError):  # a standard input that cannot be read is as good as a closed one
        wait()
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(grace_s)
    os._exit(143)


def _original(module: str, name: str) -> Any:  # a function or class of any module
    """The one Python has, also where gevent has put its own in its place."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey is not None else getattr(importlib.import_module(module), name)

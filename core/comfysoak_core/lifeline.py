"""A child that outlives its supervisor would go on loading somebody's GPU: this is what prevents it.

The supervisor keeps the write end of each child's standard input open. When the supervisor ends, however it ends, the
kernel closes that pipe, and the child gets SIGTERM from itself, then ends for good. What it writes there until then are
words to the child, a line each (`words`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

LIFELINE_VARIABLE = "COMFYSOAK_LIFELINE"
GRACE_S = 1.0
WORDS_KEPT = 100  # of a child that never asks for them
_words: deque[str] = deque(maxlen=WORDS_KEPT)


def hold(grace_s: float = GRACE_S) -> bool:
    """Watch standard input when the supervisor asked for it; True when it is being watched.

    At its end this process gets SIGTERM, and `grace_s` later it is gone whatever it is doing. The watcher is a
    thread of the operating system below any monkey-patching, so a busy gevent loop cannot delay it. Call this in
    each process, after any fork: threads do not survive one.
    """
    if os.environ.get(LIFELINE_VARIABLE) != "1":
        return False
    start_thread = _original("_thread", "start_new_thread")
    start_thread(_end_with_parent, (_original("os", "read"), _original("time", "sleep"), grace_s))
    return True


def words() -> list[str]:
    """The lines the supervisor has written since the last call."""
    return [_words.popleft() for _ in range(len(_words))]


def _end_with_parent(read: Callable[[int, int], bytes], sleep: Callable[[float], None], grace_s: float) -> None:
    begun = b""
    try:
        while said := read(0, 4096):
            *lines, begun = (begun + said).split(b"\n")
            _words.extend(line.decode("utf-8", "replace") for line in lines)
    except OSError:
        pass  # a standard input that cannot be read is as good as a closed one
    os.kill(os.getpid(), signal.SIGTERM)
    sleep(grace_s)
    os._exit(143)


def _original(module: str, name: str) -> Any:  # a function of any module
    """The function as Python has it, also where gevent has put its own in its place."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    import _thread

    return {
        ("_thread", "start_new_thread"): _thread.start_new_thread,
        ("os", "read"): os.read,
        ("time", "sleep"): time.sleep,
    }[module, name]

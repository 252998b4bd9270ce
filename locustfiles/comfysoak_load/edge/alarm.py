"""Wakes a greenlet when something is due, to some tens of microseconds.

gevent's own timers go by the whole milliseconds of epoll, so each arrival would leave half a millisecond late and, at a
thousand a second, in pairs. A timer of Linux (timerfd) is a file the event loop waits for as for any other. Elsewhere
gevent's timers have to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import Any, Final

import gevent

from comfysoak_core.clock import NS_PER_S

_CLOCK_MONOTONIC: Final = 1
_READABLE: Final = 1


class _Spec(ctypes.Structure):
    """`struct itimerspec`: how often, and when first."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("after_s", ctypes.c_long),
        ("after_ns", ctypes.c_long),
    )


class Alarm:
    """For one greenlet; `close` gives its file back."""

    def __init__(self) -> None:
        self._fd = -1
        self._spec = _Spec()
        self._libc: Any = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):  # a libc without it, or no handles left
                self._open()

    def _open(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        settime = libc.timerfd_settime
        self._fd = libc.timerfd_create(_CLOCK_MONOTONIC, flags)
        self._libc = settime if self._fd >= 0 else None

    def sleep(self, left_ns: int) -> None:
        """Let others go on for `left_ns`; for zero or less only those that are ready now."""
        if left_ns <= 0 or self._libc is None:
            gevent.sleep(max(left_ns, 0) / NS_PER_S)
            return
        self._spec.after_s, self._spec.after_ns = divmod(left_ns, NS_PER_S)
        if self._libc(self._fd, 0, ctypes.byref(self._spec), None) != 0:
            gevent.sleep(left_ns / NS_PER_S)
            return
        hub = gevent.get_hub()
        watcher = hub.loop.io(self._fd, _READABLE)
        try:
            hub.wait(watcher)
        finally:
            watcher.close()
        with contextlib.suppress(BlockingIOError):  # nothing there: something else has woken us
            os.read(self._fd, 8)

    def close(self) -> None:
        """Give the file back; sleeping goes by gevent's timers from then on."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd, self._libc = -1, None

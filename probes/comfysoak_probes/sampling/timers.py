"""How exactly the system wakes a thread that sleeps."""

from __future__ import annotations

import contextlib
import ctypes
import sys

PR_SET_TIMERSLACK = 29  # linux/prctl.h


def wake_exactly() -> None:
    """For this thread: Linux may let a sleeper wake up 50 µs late, to save power; from now on it does not.

    Nothing where the system has no such setting, or does not let us have it.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)

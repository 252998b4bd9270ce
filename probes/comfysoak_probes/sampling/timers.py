"""How exactly the system wakes a thread that sleeps, and whether it lets it finish."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

PR_SET_TIMERSLACK = 29  # linux/prctl.h
NICENESS = -10  # what runs for half a millisecond and then sleeps again takes nothing away from a server


def be_on_time() -> None:
    """For this thread: wake up when it is due, and be let finish by a machine that is busy.

    Linux may let a sleeper wake up 50 µs late, to save power: no more. There each thread has a niceness of its own, and
    lowering it takes rights (root, CAP_SYS_NICE): without them it stays. Nothing elsewhere.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)

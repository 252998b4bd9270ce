"""How long this host was suspended: the clock of a run stands still then, where the system's monotonic clock does."""

from __future__ import annotations

import sys
import time


def suspended_ns() -> int:
    """Nanoseconds since boot in which it slept; 0 where the system does not tell (all but Linux)."""
    if sys.platform != "linux":
        return 0
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)

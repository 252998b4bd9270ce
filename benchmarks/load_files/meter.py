"""What both locustfiles of `bench_load` count: whole prompt cycles, and this process's CPU time for them.

Prints one line of JSON, `{"cycles", "cpu_s", "wall_s", "journal_s", "memory"}`, for the stretch after the warm-up,
and ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent

WARM_UP_S = float(os.environ.get("BENCH_WARM_UP_S", "1.5"))
DURATION_S = float(os.environ.get("BENCH_DURATION_S", "8"))


class Meter:
    """Counts cycles; `attach` is a listener of Locust's `init` event."""

    def __init__(self) -> None:
        self.cycles = 0
        self.journal_ns = 0  # spent in calls of the journal
        self._started = False

    def attach(self, environment: Any, **_: Any) -> None:
        """Measure once all users are there."""

        def begin(**_: Any) -> None:
            if not self._started:
                self._started = True
                gevent.spawn(self._measure)

        environment.events.spawning_complete.add_listener(begin)

    def _measure(self) -> None:
        gevent.sleep(WARM_UP_S)
        cycles, journal_ns = self.cycles, self.journal_ns
        cpu_s, wall_s = time.process_time(), time.perf_counter()
        memory, seconds = [], max(round(DURATION_S), 1)
        for _ in range(seconds):
            gevent.sleep(DURATION_S / seconds)
            memory.append((self.cycles - cycles, memory_bytes()))
        found = {
            "cycles": self.cycles - cycles,
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.perf_counter() - wall_s,
            "journal_s": (self.journal_ns - journal_ns) / 1e9,
            "memory": memory,
        }
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        os._exit(0)  # websocket-client swallows the exception by which Locust ends a user


def memory_bytes() -> int:
    """The memory of this process; pages it shares with others count in part. 0 where the kernel does not say."""
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


METER = Meter()

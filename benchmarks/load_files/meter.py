"""What both locustfiles of `bench_load` count: whole prompt cycles, and this process's CPU time for them.

Prints one line of JSON, `{"cycles", "cpu_s", "wall_s"}`, for the stretch after the warm-up, and ends Locust.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import gevent

WARM_UP_S = float(os.environ.get("BENCH_WARM_UP_S", "1.5"))
DURATION_S = float(os.environ.get("BENCH_DURATION_S", "8"))


class Meter:
    """Counts cycles; `attach` is a listener of Locust's `init` event."""

    def __init__(self) -> None:
        self.cycles = 0
        self._started = False

    def attach(self, environment: Any, **_: Any) -> None:
        """Measure once all users are there."""

        def begin(**_: Any) -> None:
            if not self._started:
                self._started = True
                gevent.spawn(self._measure, environment)

        environment.events.spawning_complete.add_listener(begin)

    def _measure(self, environment: Any) -> None:
        gevent.sleep(WARM_UP_S)
        cycles, cpu_s, wall_s = self.cycles, time.process_time(), time.perf_counter()
        gevent.sleep(DURATION_S)
        found = {
            "cycles": self.cycles - cycles,
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.perf_counter() - wall_s,
        }
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        environment.process_exit_code = 0
        environment.runner.quit()


METER = Meter()

"""What both sides of the socket benchmarks measure themselves with; each prints one line of JSON."""

from __future__ import annotations

import gc
import json
import os
import resource
import time
from pathlib import Path

FIRST = 100  # sockets that are opened before anything is measured: imports, caches, pools


def rss_bytes() -> int:
    """The memory this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def allow_handles() -> None:
    """As many file handles as the hard limit lets us have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tell(**figures: float) -> None:
    """One line for the benchmark that started us; then end at once, however many sockets there are."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


class Messages:
    """Messages and CPU time since it was made."""

    def __init__(self, count: int) -> None:
        self._count, self._cpu_s, self._wall_s = count, time.process_time(), time.monotonic()

    def tell(self, count: int) -> None:
        """What has come in since."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s
        tell(messages=count - self._count, cpu_s=cpu_s, wall_s=wall_s)

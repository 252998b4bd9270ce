"""Locust's own statistics, kept from growing with the length of a test.

Locust counts requests per second and name for ever (76 MB a day with ten names) and keeps a row of its chart every
five seconds. Its figures on the console and the web page look at the last seconds and at sums, which stay right.
"""

from __future__ import annotations

import time
from typing import Any

import gevent

EVERY_S = 10.0
SECONDS_KEPT = 60  # Locust's "current" figures look back 12 s
CHART_ROWS_KEPT = 720  # an hour of its web page's chart
EXCEPTIONS_KEPT = 100  # different ones, of a locustfile's own tasks


def trim(runner: Any, now_s: float) -> None:
    """Forget what is older than anybody looks at. `runner` is Locust's, `now_s` seconds since 1970."""
    stats, oldest = runner.stats, int(now_s) - SECONDS_KEPT
    for entry in (stats.total, *stats.entries.values()):
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            for second in [second for second in counts if second < oldest]:
                del counts[second]
    del stats.history[:-CHART_ROWS_KEPT]
    for key in list(runner.exceptions)[EXCEPTIONS_KEPT:]:
        del runner.exceptions[key]


def keep_small(runner: Any) -> None:
    """Trim for as long as the process lives."""
    while True:
        gevent.sleep(EVERY_S)
        trim(runner, time.time())

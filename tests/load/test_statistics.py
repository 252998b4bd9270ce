"""Locust's own statistics stay small however long a test is."""

from __future__ import annotations

import json
import subprocess
import sys

HOUR_S = 3600

# In a process of its own: importing Locust patches the process it is imported in.
SCRIPT = f"""
import json, time
from types import SimpleNamespace
from locust.stats import RequestStats
from comfysoak_load.process.statistics import trim

stats, now = RequestStats(), 0.0
time.time = lambda: now
for second in range({HOUR_S}):
    now = float(second)
    stats.log_request("generation", "a", 12, 100)
    stats.log_request("submit", "a", 7, 100)
    stats.log_error("submit", "a", "failed NODE_ERROR")
stats.history = [{{"time": str(row)}} for row in range(17_280)]
runner = SimpleNamespace(stats=stats, exceptions={{str(number): {{}} for number in range(1_000)}})
entry = stats.entries["a", "submit"]

def figures():
    return [
        entry.num_requests, entry.num_failures, entry.total_rps, entry.current_rps, entry.current_fail_per_sec,
        entry.get_response_time_percentile(0.95), stats.total.num_requests,
    ]

before = figures()
trim(runner, {HOUR_S})
counts = [entry.num_reqs_per_sec, entry.num_fail_per_sec, stats.total.num_reqs_per_sec]
print(json.dumps({{
    "before": before, "after": figures(), "seconds": [len(count) for count in counts],
    "newest": [max(count) for count in counts], "chart": len(stats.history), "last": stats.history[-1],
    "exceptions": len(runner.exceptions),
}}))
"""


def test_what_nobody_looks_at_is_forgotten_and_the_figures_stay() -> None:
    """After an hour of requests seconds, chart rows and exceptions are bounded; counts, rates, percentiles the same."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["seconds"] == [60, 60, 60]
    assert found["newest"] == [HOUR_S - 1] * 3
    assert (found["chart"], found["last"], found["exceptions"]) == (720, {"time": "17279"}, 100)
    assert found["after"] == found["before"]
    assert found["before"][:2] == [HOUR_S, HOUR_S]

"""The least that could be late: a loop that sleeps until each moment of a constant rate, and does nothing else.

`python bare_loop.py RATE SECONDS` prints the lateness of each moment in nanoseconds as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time


def lateness_ns(rate_per_s: float, seconds: float) -> list[int]:
    """How much after each moment the loop was awake."""
    zero_ns = time.monotonic_ns()
    found = []
    for number in range(round(rate_per_s * seconds)):
        due_ns = zero_ns + round(number / rate_per_s * 1e9)
        left_ns = due_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / 1e9)
        found.append(time.monotonic_ns() - due_ns)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(lateness_ns(float(sys.argv[1]), float(sys.argv[2]))) + "\n")

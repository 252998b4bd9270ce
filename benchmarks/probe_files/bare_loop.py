"""What no sampler can beat: a loop that sleeps until each deadline, and how late it woke up.

`python bare_loop.py EVERY_S FOR_S` prints the latenesses in nanoseconds as a JSON list.
"""

import json
import sys
import time

every_ns, until_ns = round(float(sys.argv[1]) * 1e9), time.monotonic_ns() + round(float(sys.argv[2]) * 1e9)
late_ns, due_ns = [], time.monotonic_ns() + every_ns
while due_ns < until_ns:
    time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
    now_ns = time.monotonic_ns()
    late_ns.append(now_ns - due_ns)
    due_ns += (now_ns - due_ns) // every_ns * every_ns + every_ns
print(json.dumps(late_ns))

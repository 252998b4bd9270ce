"""`comfysoak check` on planted mistakes and on sound set-ups: found, right remedy, false; prompts and seconds.

No peer: nothing else checks this. All of them each time: it is a matter of minutes.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.figure import Figure
from benchmarks.mistakes.judging import IDLE_S, PROMPTS_MOST
from benchmarks.mistakes.suite import chosen, run

BEYOND_IDLE_S = 10.0


def measure(*, full: bool) -> Iterator[Figure]:
    """Shares of all that was planted; false alarms counted."""
    judged = list(run(chosen([])))
    planted = [one for one in judged if one.area != "sound"]
    found = sum(one.found and one.right_remedy for one in planted)
    yield Figure("check: planted mistakes found by the right row with the right remedy", found, f"of {len(planted)}",
                 "all", found == len(planted), runs=len(planted))  # fmt: skip
    false = sum(len(one.false) for one in judged)
    yield Figure("check: false alarms, beside mistakes and on sound set-ups", false, "rows", "none", false == 0,
                 runs=len(judged))  # fmt: skip
    sound = [one.answer for one in judged if one.area == "sound"]
    most = max(one.prompts_sent for one in sound)
    yield Figure("check: prompts it sends, most", most, "prompts", f"<= {PROMPTS_MOST}", most <= PROMPTS_MOST,
                 runs=len(sound))  # fmt: skip
    beyond = statistics.median(one.took_s - IDLE_S for one in sound)
    yield Figure("check: seconds beyond the idle time it waits for", beyond, "s", f"<= {BEYOND_IDLE_S:g}",
                 beyond <= BEYOND_IDLE_S, runs=len(sound))  # fmt: skip

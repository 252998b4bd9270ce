"""A producer that tells what it has put on disk: `python -m tests.core.recording.writer JOURNAL NAME`.

It begins prompts, ends most of them, and writes an event a prompt; stretches are short. Every line on stdout is
the number of a prompt all rows of which are on disk.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.core.recording.samples import event, prompt

from comfysoak_core.clock import Anchor, AnchoredClock
from comfysoak_core.recording import journal as journal_module
from comfysoak_core.recording.journal import Journal

journal_module.ROTATE_BYTES = 5000


def main() -> None:
    """Write until killed."""
    clock = AnchoredClock(Anchor.take())
    journal = Journal(Path(sys.argv[1]), host="h", process=sys.argv[2], clock=clock)
    for number in range(100_000):
        name = f"{sys.argv[2]}-{number}"
        begun_ns = clock.now_ns()
        journal.add_now(prompt(name, begun_ns))
        if number % 5:
            journal.add(prompt(name, begun_ns, "success"))
        journal.add(event(clock.now_ns(), name))
        journal.flush()
        print(number, flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    main()

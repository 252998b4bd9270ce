"""A server that takes no prompts is asked less and less often."""

from __future__ import annotations

import random

import gevent

from comfysoak_core.rows import Prompt

FIRST_PAUSE_S = 0.5  # after a submission that failed; each further one in a row doubles it
LONGEST_PAUSE_S = 10.0


class BackOff:
    """The pauses of one user."""

    def __init__(self) -> None:
        self._pause_s = 0.0

    def pause_after(self, row: Prompt) -> None:
        """Pause when it was not taken, and that was not expected."""
        if row.accepted_ns is not None or row.outcome == row.expected:
            self._pause_s = 0.0
            return
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        gevent.sleep(self._pause_s * random.uniform(0.5, 1.0))

"""When to look again: beats at a fixed distance from the first one, so that nothing drifts; fewer after failures.

Pure: times are ns of a steady clock, and come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WIDEST: Final = 8  # beats between two tries, after failures in a row


@dataclass(slots=True)
class Beat:
    """Beats every `every_ns` from `due_ns` on. What could not begin in time is left out, and counted."""

    every_ns: int
    due_ns: int
    missed: int = 0

    def done(self, now_ns: int, skip: int = 0) -> None:
        """It was done: due is the next beat after `now_ns`, or one that is `skip` beats later."""
        late = max((now_ns - self.due_ns) // self.every_ns, 0)
        self.missed += late
        self.due_ns += (late + 1 + skip) * self.every_ns

    def soon(self, now_ns: int) -> None:
        """The next beat is to be used, however many were to be left out."""
        ahead = max(self.due_ns - now_ns, 0) // self.every_ns
        self.due_ns -= ahead * self.every_ns


def beats_left_out(failures: int) -> int:
    """How many to leave out after so many failures in a row: 0, 1, 3, 7, 7, ..."""
    return min(1 << min(max(failures - 1, 0), 10), WIDEST) - 1


def pause_s(failures: int, first_s: float = 1.0, longest_s: float = 30.0) -> float:
    """How long to wait before something is tried again that has failed so often in a row."""
    return min(first_s * 2.0 ** min(max(failures - 1, 0), 20), longest_s)

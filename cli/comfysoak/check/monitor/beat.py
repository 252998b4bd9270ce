"""When to look again: beats at a fixed distance from the first one, so that nothing drifts; pauses after failures.

Pure: times are ns of a steady clock, and come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Beat:
    """Beats every `every_ns` from the first `due_ns` on. What could not begin in time is left out, and counted."""

    every_ns: int
    due_ns: int
    missed: int = 0
    _first_ns: int = field(init=False)

    def __post_init__(self) -> None:
        """Where the beats begin."""
        self._first_ns = self.due_ns

    def done(self, now_ns: int) -> None:
        """It was done: due is the next beat after now."""
        self.missed += max((now_ns - self.due_ns) // self.every_ns, 0)
        self.due_ns = self._next_after(max(now_ns, self.due_ns))

    def failed(self, now_ns: int, pause_ns: int) -> None:
        """It was done and failed: due is a pause from now, on a beat where it is as long as one."""
        later_ns = now_ns + pause_ns
        self.due_ns = later_ns if pause_ns < self.every_ns else self._next_after(later_ns - 1)

    def soon(self, now_ns: int) -> None:
        """There is a reason not to wait."""
        self.due_ns = min(self.due_ns, now_ns)

    def _next_after(self, at_ns: int) -> int:
        return self._first_ns + ((at_ns - self._first_ns) // self.every_ns + 1) * self.every_ns


def pause_s(failures: int, first_s: float = 1.0, longest_s: float = 30.0) -> float:
    """How long to wait before something is tried again that has failed so often in a row."""
    return min(first_s * 2.0 ** min(max(failures - 1, 0), 20), longest_s)

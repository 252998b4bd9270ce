"""Is the worker dead? From looks at the queue: over two or more of them nothing has moved, and there is proof. Pure.

A prompt that runs for long is no proof, whoever sent it. What is: the server's own log; prompts that wait while none
runs; a canary of ours of which no node ran. Where the log cannot be read, and one prompt has run for longer than a
prompt may take (`--deadline`) while not a byte of memory moved, that is taken for proof as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from comfysoak.check.conversation.figures import counted, seconds
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.answers import Queue

LOOKS_LEAST: Final = 2
TAKES_UP_WITHIN_NS: Final = 3 * NS_PER_S  # the worker tidies memory up between two prompts
_ID_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What one look saw of work. `ended`: how many prompts have ended since the one before."""

    at_ns: int
    queue: Queue
    ended: int = 0
    memory: tuple[int | None, ...] = ()
    log_is_readable: bool | None = None  # None: it was not asked for
    died: str | None = None  # the line of the log that tells of its death


@dataclass(slots=True)
class WorkerWatch:
    """One server's worker. `evidence` is empty while nothing proves that it is dead."""

    deadline_ns: int
    evidence: str = ""
    _before: tuple[str | None, str | None] = (None, None)  # what runs, and what is next
    _memory: tuple[int | None, ...] = ()
    _since_ns: int = 0
    _memory_since_ns: int = 0
    _looks: int = 0

    @property
    def is_suspicious(self) -> bool:
        """Whether nothing has moved since the look before the last one: its log is worth reading."""
        return self._looks >= LOOKS_LEAST

    def saw(self, glimpse: Glimpse) -> None:
        """One more look that was answered."""
        queue = glimpse.queue
        now = (_first(queue.running), _first(queue.pending))
        stands = queue.remaining > 0 and now == self._before and not glimpse.ended
        if glimpse.ended or (now[0] is not None and now[0] != self._before[0]):
            self.evidence = ""  # it works
        if not stands:
            self._since_ns, self._looks = glimpse.at_ns, 0
        if not stands or glimpse.memory != self._memory:
            self._memory, self._memory_since_ns = glimpse.memory, glimpse.at_ns
        self._looks += 1 if queue.remaining else 0
        self._before = now
        if stands and self._looks >= LOOKS_LEAST:
            self.evidence = self._proof(glimpse) or self.evidence

    def canary_told(self, words: str) -> None:
        """A canary was taken up, and no node of it ran."""
        self.evidence = words

    def begin_anew(self) -> None:
        """The server was started again, or is gone."""
        self.evidence, self._before, self._looks = "", (None, None), 0

    def _proof(self, glimpse: Glimpse) -> str:
        queue, stood_ns = glimpse.queue, glimpse.at_ns - self._since_ns
        stood = f"in {counted(self._looks, 'look')}, {seconds(stood_ns / NS_PER_S)}, nothing moved"
        if glimpse.died is not None:
            return f"{stood}, {counted(queue.remaining, 'prompt')} in the queue; its log says: {glimpse.died}"
        if not queue.running and stood_ns >= TAKES_UP_WITHIN_NS:
            return f"{stood}: {counted(len(queue.pending), 'prompt')} waiting, and none is taken up"
        dull_ns = glimpse.at_ns - self._memory_since_ns
        if glimpse.log_is_readable is False and dull_ns > self.deadline_ns:
            return f"{stood}: prompt {_first(queue.running)} has run for longer than a prompt may take (--deadline)"
        return ""


def _first(ids: tuple[str, ...]) -> str | None:
    return ids[0][:_ID_CHARACTERS] if ids else None

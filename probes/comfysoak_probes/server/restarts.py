"""Whether a server was started again: by its queue numbers, by refused connections, by what it says it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from comfysoak_core.comfyui.answers import Queue, SystemStats

COUNTER_SLACK = 8  # prompts sent at once may enter the queue in another order than their numbers
SAME_AGAIN = 3  # answers in a row from another server than before, before that counts


@dataclass(slots=True)
class RestartWatch:
    """Notices a restart by the counter of queue numbers, which then begins at 0 again.

    The counter gives whole numbers; numbers that clients chose are floats, and priority ones negative. The highest
    number also falls when the last prompt is taken out of the queue, so a fall counts only when all prompts are new.
    Behind a proxy two servers may answer in turn, and numbers rise and fall: so before a fall counts, `in_history`
    and `in_queue` are asked whether a prompt seen before is still known there. Once it is, numbers say nothing any
    more. The same holds for another version or another command line in /system_stats, which is a restart with other
    options, unless the one before comes again. What refuses connections may be a tunnel: a history that is still
    there was not lost.
    """

    in_history: Callable[[str], bool] = lambda _prompt_id: False
    in_queue: Callable[[str], bool] = lambda _prompt_id: False
    highest: int = -1
    proxied: bool = False  # several servers answer in turn
    _seen: frozenset[str] = field(default_factory=frozenset)
    _witness: str | None = None  # the prompt that ran when last one was seen to
    _answered: bool = False
    _refused: bool = False
    _identity: Identity | None = None
    _other: Identity | None = None
    _others: int = 0

    def refused(self) -> None:
        """Nobody listens where it answered before: if it answers again, it was started again."""
        self._refused = self._answered

    def saw(self, queue: Queue) -> str | None:
        """How a restart showed, or None."""
        ids = frozenset((*queue.running, *queue.pending))
        new = ids.isdisjoint(self._seen)
        counted = _counted(queue.highest_number)
        goes_on = not new and counted is not None and counted >= self.highest > COUNTER_SLACK
        told = None
        if self._refused:
            kept = goes_on or (self._witness is not None and self.in_history(self._witness))
            told = None if kept else "it refused connections and then answered again"
        elif counted is not None and new and not self.proxied and self._fell(counted):
            told = None if self._is_known() else f"queue numbers fell from {self.highest} to {counted}"
            self.proxied = told is None and counted < self.highest - COUNTER_SLACK
        self._seen = ids
        self._refused, self._answered = False, True
        if told is not None:
            self._begin_anew()
        self._witness = next(iter(queue.running), self._witness)
        if counted is not None:
            self.highest = max(self.highest, counted)
        return told

    def saw_stats(self, stats: SystemStats) -> str | None:
        """How it differs from before, once it has stayed so; None while it is the same."""
        now = Identity.of(stats)
        if self._identity is None or now == self._identity:
            self.proxied = self.proxied or self._others > 0
            self._identity, self._others = now, 0
            return None
        self._others = self._others + 1 if now == self._other else 1
        self._other = now
        if self._others < SAME_AGAIN or self.proxied:
            return None
        self.proxied = self._is_known()
        told = None if self.proxied else now.unlike(self._identity)
        if told is not None:
            self._begin_anew()
        self._identity, self._others = now, 0
        return told

    def _is_known(self) -> bool:
        """Whether some answer still has the prompt that ran before."""
        return self._witness is not None and (self.in_history(self._witness) or self.in_queue(self._witness))

    def _begin_anew(self) -> None:
        self.highest = -1
        self._identity = self._other = self._witness = None

    def _fell(self, number: int) -> bool:
        return number < self.highest - COUNTER_SLACK or (self.highest >= 3 and number * 2 < self.highest)


def _counted(number: object) -> int | None:
    """A queue number of the server's own counter; None for one that a client chose, or a priority one."""
    return number if type(number) is int and number >= 0 else None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server is: a process keeps it for its whole life. Of its command line only a digest is kept."""

    comfyui: str | None
    python: str | None
    pytorch: str | None
    options: frozenset[str]  # names without values: a value may be a secret
    command: int

    @classmethod
    def of(cls, stats: SystemStats) -> Identity:
        """What GET /system_stats says."""
        options = frozenset(word.partition("=")[0][:60] for word in stats.argv if word.startswith("--"))
        return cls(stats.comfyui_version, stats.python_version, stats.pytorch_version, options, hash(stats.argv))

    def unlike(self, before: Identity) -> str:
        """What is other than before, in words."""
        said = [
            f"its {name} was {_short(old)} and is {_short(new)}"
            for name, old, new in (
                ("version", before.comfyui, self.comfyui),
                ("Python", before.python, self.python),
                ("PyTorch", before.pytorch, self.pytorch),
            )
            if old != new
        ]
        if self.options - before.options:
            said.append(f"it now has {_listed(self.options - before.options)}")
        if before.options - self.options:
            said.append(f"it no longer has {_listed(before.options - self.options)}")
        return "; ".join(said) or "the values on its command line are others"


def _short(text: str | None) -> str:
    return "not told" if text is None else text[:60]


def _listed(options: frozenset[str]) -> str:
    return ", ".join(sorted(options)[:10])

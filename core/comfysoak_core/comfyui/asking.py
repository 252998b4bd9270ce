"""When to stop trusting the socket and ask the server: the schedule of one prompt's questions.

A poll is one GET /history/{id} and, where that is empty, one GET /queue. A prompt that two polls in a row have in
neither is gone: the second history is asked after the first queue, so a prompt that ended in between is found.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from comfysoak_core.clock import NS_PER_MS, NS_PER_S
from comfysoak_core.value import value

POLLS: Final = 2  # that miss a prompt which is gone, as said above
POLLS_OF_SEVERAL: Final = 6  # where each question may reach another server
FOREVER_NS: Final = 2**62  # a moment that does not come


class Need(StrEnum):
    """What the life of a prompt needs its driver to do next."""

    SEND = "send"  # POST /prompt at `due_ns`
    WAIT = "wait"  # listen; call `tick` at `due_ns`
    ASK_HISTORY = "ask_history"  # GET /history/{server_id} at `due_ns`; or GET /api/jobs/{server_id}
    ASK_QUEUE = "ask_queue"  # GET /queue at `due_ns`; lives may share an answer that was asked for after that
    LEAVE = "leave"  # the user goes at `due_ns`: call `left`
    WITHDRAW = "withdraw"  # ask the server at `due_ns` to take it back: `cancel_asked`, then `withdrawn`
    FETCH_OUTPUTS = "fetch_outputs"  # fetch and check `outputs`
    DONE = "done"  # `row` is final


@value()
class Step:
    """What is needed, and when; messages are listened to until then."""

    need: Need
    due_ns: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a life waits before it asks, in ns."""

    first_look_ns: int = 10 * NS_PER_S  # silence after which it asks for the first time
    longest_look_ns: int = 60 * NS_PER_S  # each silence it bears is twice the one before, up to this
    without_socket_ns: int = 2 * NS_PER_S  # between polls while there is no socket
    after_success_ns: int = 2 * NS_PER_S  # execution_success to `executing` null: a garbage collection takes up to 1 s
    again_ns: int = 500 * NS_PER_MS  # between the two polls that both miss a prompt that is gone
    race_ns: int = 100 * NS_PER_MS  # before asking again for the entry of a prompt that has ended; doubled each time
    race_tries: int = 6
    last_look_ns: int = 5 * NS_PER_S  # for the answer to the one question asked at the deadline

    @functools.cache  # noqa: B019  # a value with few deadlines, not an object that should go
    def within(self, deadline_ns: int | None) -> Patience:
        """The same for a prompt that has so long: the first question is asked early enough to tell why it hangs."""
        if deadline_ns is None:
            return self
        return replace(self, first_look_ns=min(self.first_look_ns, max(deadline_ns // 3, self.again_ns)))


class Asking:
    """The schedule: `need` is WAIT, ASK_HISTORY or ASK_QUEUE, at `due_ns`."""

    __slots__ = ("_absent", "_patience", "_silence_ns", "_socket", "_tries", "due_ns", "need", "raced", "seen")

    def __init__(self, patience: Patience, *, socket: bool) -> None:
        self._patience = patience
        self._socket = socket
        self._silence_ns = patience.first_look_ns
        self._absent = 0
        self._tries = 0
        self.need = Need.WAIT
        self.due_ns = FOREVER_NS
        self.seen = False  # the server has shown that it has the prompt
        self.raced = False  # the prompt had ended, and history answered without it

    def opened(self, at_ns: int) -> None:
        """The server has taken the prompt."""
        self._wait(at_ns)

    def heard(self, at_ns: int) -> None:
        """A message about the prompt: the socket works."""
        self.seen = True
        self._absent = 0
        self._silence_ns = self._patience.first_look_ns
        self.need = Need.WAIT
        self.due_ns = at_ns + self._silence_ns

    def success(self, at_ns: int) -> None:
        """execution_success: the end is near, unless it gets lost."""
        self.due_ns = at_ns + self._patience.after_success_ns

    def ask(self, at_ns: int) -> None:
        """Ask history now."""
        self.need = Need.ASK_HISTORY
        self.due_ns = at_ns

    def socket_lost(self, at_ns: int) -> None:
        """From now on only polls can tell."""
        self._socket = False
        if self.need is Need.WAIT:
            self._wait(at_ns)

    def socket_back(self, at_ns: int) -> None:
        """Nothing is replayed: ask at once (or, of a prompt that is not open yet, when it is)."""
        self._socket = True
        self._silence_ns = self._patience.first_look_ns
        self.ask(at_ns)

    def history_empty(self, at_ns: int) -> None:
        """Not in history: waiting, running, or gone."""
        if self.need is Need.ASK_HISTORY:  # else a message came while the answer was under way
            self.need = Need.ASK_QUEUE
            self.due_ns = at_ns

    def queued(self, at_ns: int) -> None:
        """The queue has it."""
        self.seen = True
        self._absent = 0
        self._wait(at_ns)

    def deaf(self) -> None:
        """Its socket is open to another server: only polls can tell."""
        self._socket = False

    def missed(self, at_ns: int, *, several: bool = False) -> bool:
        """A whole poll has not found it; True when it is gone. Where `several` servers answer that takes more polls."""
        if self.need is Need.WAIT:
            return False
        self._absent += 1
        self.need = Need.ASK_HISTORY
        self.due_ns = at_ns + self._patience.again_ns
        return self._absent >= (POLLS_OF_SEVERAL if several else POLLS)

    def failed(self, at_ns: int) -> None:
        """The question had no usable answer."""
        self._wait(at_ns)

    def entry_missing(self, at_ns: int, *, answered: bool) -> bool:
        """The prompt has ended, and history does not have it yet, or has not `answered`.

        True when it is not worth asking again.
        """
        self.raced = self.raced or answered
        delay_ns = self._patience.race_ns << self._tries
        self._tries += 1
        self.need = Need.ASK_HISTORY
        self.due_ns = at_ns + delay_ns
        return self._tries >= self._patience.race_tries

    def _wait(self, at_ns: int) -> None:
        self.need = Need.WAIT
        if not self._socket:
            self.due_ns = at_ns + self._patience.without_socket_ns
            return
        self.due_ns = at_ns + self._silence_ns
        self._silence_ns = min(2 * self._silence_ns, self._patience.longest_look_ns)

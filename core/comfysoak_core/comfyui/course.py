"""Where one prompt stands: its phase, what it needs next, and what is known of it by now.

The first part of a life (see `life`). The other parts change what is kept here; nothing here changes anything.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from comfysoak_core.comfyui.account import Account
from comfysoak_core.comfyui.address import Address
from comfysoak_core.comfyui.asking import FOREVER_NS, Asking, Need, Patience, Step
from comfysoak_core.comfyui.history import OutputFile, OutputText
from comfysoak_core.comfyui.leaving import Leave, Leaving
from comfysoak_core.comfyui.sending import Sending
from comfysoak_core.comfyui.shape import GraphShape
from comfysoak_core.comfyui.whereabouts import Whereabouts
from comfysoak_core.rows import NodeRun, Outcome, Prompt

_PATIENCE: Final = Patience()


class Phase(IntEnum):
    """How far a prompt has come."""

    DUE = 0
    SENT = 1  # no answer to POST /prompt yet
    OPEN = 2  # on the server, as far as is known
    ENDED = 3  # over; its history entry is wanted
    FETCHING = 4
    DONE = 5


class Course:
    """One prompt. `prompt` is its row as it begins; `fetch` whether its outputs are wanted.

    `ask_history` False saves a request a prompt: the socket's word is taken where it heard everything.
    `socket` False means that nobody listens, by design: history is polled, and LOST_TERMINAL is no finding.
    `leave`: its user is going to cancel it, or to give up. `address`: what all prompts sent there have shown of it.
    """

    __slots__ = (
        "_account",
        "_ask_history",
        "_asking",
        "_decided_ns",
        "_fetch",
        "_gap_since_seen",
        "_last_look_ns",
        "_leaving",
        "_open_ns",
        "_patience",
        "_phase",
        "_sending",
        "_socket_away",
        "_where",
        "heard",
        "server_id",
    )

    def __init__(
        self,
        prompt: Prompt,
        shape: GraphShape,
        *,
        fetch: bool = True,
        ask_history: bool = True,
        socket: bool = True,
        patience: Patience | None = None,
        leave: Leave | None = None,
        address: Address | None = None,
    ) -> None:
        given_ns = None if prompt.deadline_ns is None else prompt.deadline_ns - prompt.scheduled_ns
        self._phase = Phase.DUE
        self._fetch = fetch
        self._ask_history = ask_history
        self._patience = patience or _PATIENCE.within(given_ns)
        self._account = Account(prompt, shape, listens=socket)
        self._sending = Sending()
        self._asking = Asking(self._patience, socket=socket)
        self._leaving = None if leave is None else Leaving(leave)
        self._where = Whereabouts(address, listens=socket)
        self._open_ns = prompt.scheduled_ns  # when it was last known not to have ended
        self._decided_ns = prompt.scheduled_ns  # when it was known how it ended, and then: when it was done
        self._last_look_ns: int | None = None  # when the question at the deadline was asked
        self._socket_away = False  # before it was sent: nothing is lost by it yet
        self._gap_since_seen = False  # its socket was lost, and nothing has shown since that the server has it
        self.heard = self._account.heard  # what its socket told
        self.server_id = prompt.id  # what the server calls it: our id, or on old servers one of its own

    @property
    def next(self) -> Step:
        """What the driver does next, and when."""
        phase = self._phase
        if phase is Phase.DUE:
            return Step(Need.SEND, self._account.prompt.scheduled_ns)
        if phase is Phase.DONE:
            return Step(Need.DONE, self._decided_ns)
        if phase is Phase.FETCHING:
            return Step(Need.FETCH_OUTPUTS, self._decided_ns)
        if phase is Phase.ENDED:
            return Step(self._asking.need, self._asking.due_ns)
        if self._last_look_ns is not None:
            return Step(Need.ASK_HISTORY, self._last_look_ns)
        return Step(Need.WAIT, self._deadline_ns) if phase is Phase.SENT else self._next_while_open()

    def _next_while_open(self) -> Step:
        """Of what its user wants, what is to be asked and its deadline, the first."""
        asking, deadline_ns = self._asking, self._deadline_ns
        leave = None if self._leaving is None else self._leaving.step
        if leave is not None and leave.due_ns <= min(asking.due_ns, deadline_ns):
            return leave
        if asking.due_ns > deadline_ns:
            return Step(Need.WAIT, deadline_ns)
        return Step(asking.need, asking.due_ns)

    @property
    def _deadline_ns(self) -> int:
        if self._leaving is not None and self._leaving.deadline_ns is not None:
            return self._leaving.deadline_ns
        deadline_ns = self._account.prompt.deadline_ns
        return FOREVER_NS if deadline_ns is None else deadline_ns

    @property
    def row(self) -> Prompt:
        """The prompt's row as of now; final once `next` says DONE."""
        return self._account.row

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """The files the prompt has put out: by history where it was asked, else by the socket."""
        return self._account.outputs

    @property
    def texts(self) -> tuple[OutputText, ...]:
        """The texts its nodes have shown, likewise."""
        return self._account.texts

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where socket and history tell different things about it."""
        return self._account.disagreements

    @property
    def is_on_server(self) -> bool:
        """Whether the server may still wait to run it, or run it: what a driver may want to cancel."""
        if self._phase is Phase.DONE:
            return self._account.fields.get("outcome") in {Outcome.TIMEOUT, Outcome.ABORTED}
        return self._phase in {Phase.SENT, Phase.OPEN}

    @property
    def is_odd(self) -> bool:
        """Of a prompt that history has: whether its socket told nothing of it, or history did not have it just before.

        One server behind the address would rarely do that.
        """
        return (self.heard.messages == 0 and self.heard.gaps == 0) or self._asking.raced

    @property
    def is_left(self) -> bool:
        """Whether its user has given up; the prompt may go on all the same."""
        return self._leaving is not None and self._leaving.left_ns is not None

    def take_node_rows(self) -> list[NodeRun]:
        """Rows of nodes that began or ended since the last call; a later row of an id replaces the earlier one."""
        return self.heard.nodes.take()

"""What is known of one prompt's POST /prompt, and the messages that wait for its answer. Without any I/O.

A socket may be faster than HTTP. Old servers do not take the id we send, so until the answer has told theirs, a message
about a prompt we do not know may be about this one.
"""

from __future__ import annotations

from typing import Final

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import SubmitFailed
from comfysoak_core.comfyui.ending import Ending, ending_of_unread
from comfysoak_core.comfyui.messages import Message
from comfysoak_core.comfyui.mistakes import UNREADABLE
from comfysoak_core.rows import Outcome
from comfysoak_core.value import value

MAX_HELD: Final = 64  # messages about other prompts that are kept until the server has told our id
MAX_HELD_BYTES: Final = 64 * 1024  # of each
_COULD_NOT_READ: Final = frozenset({400, 422, 500})  # not 401, 404, 429, 503: those refuse any body


@value()
class HeldMessage:
    """A message about a prompt whose id is not known yet, as it came."""

    message: Message
    at_ns: int
    error_ns: int
    size_bytes: int


class Sending:
    """The submission of one prompt."""

    __slots__ = ("_held", "accepted_ns", "doubt")

    def __init__(self) -> None:
        self.accepted_ns: int | None = None
        self.doubt: Ending | None = None  # it broke, yet the prompt may have arrived: its end, if it did not
        self._held: list[HeldMessage] | None = None

    def hold(self, message: Message, at_ns: int, error_ns: int, size_bytes: int) -> None:
        """Keep a message about another prompt, up to a bound: it may be this one under an id of the server's."""
        if self._held is None:
            self._held = []
        if len(self._held) < MAX_HELD and size_bytes <= MAX_HELD_BYTES:
            self._held.append(HeldMessage(message, at_ns, error_ns, size_bytes))

    def release(self) -> list[HeldMessage]:
        """What was held; nothing is from now on."""
        held, self._held = self._held, None
        return held or []

    def failed(self, failed: SubmitFailed, mistake: str | None) -> Ending | None:
        """The end by an answer that is neither yes nor no; None, and a `doubt`, where the prompt may have arrived.

        `mistake` is the kind of the one it was sent with: a body nobody can read is refused in this way.
        """
        if not failed.unsure and failed.status in _COULD_NOT_READ and mistake in UNREADABLE:
            return ending_of_unread(failed.status, failed.message)
        kind = f"http {failed.status}" if failed.status else "no answer"
        ending = Ending(Outcome.FAILED, Code.SUBMIT_ERROR, kind, failed.message)
        if not failed.unsure:
            return ending
        self.doubt = ending
        return None

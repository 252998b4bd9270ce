"""Whether the socket of a prompt is open to the server that took the prompt: LB_MISROUTED or not.

A server that takes a prompt tells all its sockets at once that its queue has grown, and tells the owner's socket when
it runs. So a socket that was open all the time and is told nothing belongs to another server. That its queue grew just
then proves less: behind a proxy it may be another user's prompt that went there; unless nobody else was sending.
"""

from __future__ import annotations

from typing import Final

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.address import Address

STATUS_WINDOW_NS: Final = NS_PER_S  # how long after its acceptance a growing queue is taken for this prompt


class Whereabouts:
    """The evidence about one prompt. `listens`: its socket is open; `address`: what is known of where it is sent."""

    __slots__ = ("_address", "_alone", "_deaf", "_grew", "_listens", "_posts", "_sent", "_taken_ns", "remaining")

    def __init__(self, address: Address | None, *, listens: bool) -> None:
        self._address = address or _of_one_server()
        self._listens = listens
        self.remaining: int | None = None  # the queue as its socket was last told
        self._grew = False
        self._deaf = False  # the socket that was open when it was taken told nothing, and is gone
        self._alone = False  # no other prompt of ours was being submitted to this address
        self._posts = 0
        self._sent = False
        self._taken_ns: int | None = None

    @property
    def several(self) -> bool:
        """Whether requests to this address are known to reach different servers."""
        return self._address.several

    def sent(self) -> None:
        """Its submission leaves."""
        self._sent = True
        self._alone = self._address.open_posts == 0
        self._address.posts += 1
        self._address.open_posts += 1
        self._posts = self._address.posts

    def answered(self, at_ns: int) -> None:
        """Its submission has ended, with an answer or without."""
        if self._sent and self._taken_ns is None:
            self._taken_ns = at_ns
            self._address.open_posts -= 1
            self._alone = self._alone and self._address.posts == self._posts

    def status(self, remaining: int | None, at_ns: int) -> None:
        """Its socket was told the length of the queue."""
        before, self.remaining = self.remaining, remaining
        if not self._sent or before is None or remaining is None or remaining <= before:
            return
        if self._taken_ns is None or at_ns <= self._taken_ns + STATUS_WINDOW_NS:
            self._grew = True

    def gap(self, at_ns: int, *, heard: bool) -> None:
        """Its socket is gone: from now on silence proves nothing. `heard`: it had told something of this prompt."""
        long_taken = self._taken_ns is not None and at_ns > self._taken_ns + STATUS_WINDOW_NS
        self._deaf = self._deaf or (self.untold and long_taken and not heard)
        self._listens = False

    def heard_end(self) -> None:
        """Its socket was told of its end."""
        self._address.heard = True

    @property
    def untold(self) -> bool:
        """Whether its socket was there and was told nothing of a prompt that came."""
        return self._listens and not self._grew

    @property
    def never_came(self) -> bool:
        """Of a prompt that is nowhere and was seen nowhere: whether another server than its socket's has taken it."""
        if not self._listens:
            return self._address.several
        return not self._grew or (self._address.several and not self._alone)

    def ran_elsewhere(self, *, heard: bool) -> bool:
        """Of a prompt that has run: whether it ran on another server than the one its socket was open to.

        `heard`: its socket told something of it. A socket the server has forgotten (WS_ZOMBIE) is as silent: so this
        needs an address that is known to lead to several servers, or whose sockets have never told of any prompt.
        """
        if self._deaf and self._address.several:
            return True
        return not heard and self._listens and (self._address.several or not self._address.heard)


def _of_one_server() -> Address:
    """What is assumed where nothing is known."""
    address = Address()
    address.heard = True
    return address

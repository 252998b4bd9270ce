"""What an address shows of itself: one server, or several behind a proxy.

A ComfyUI numbers its prompts from 0 up, and never gives a number twice while it lives. So a number that comes again, or
a lower one for a prompt that was sent after the answer to an earlier one, shows either that the server was restarted in
between, or that the address leads to more than one server. (One that is lower by far needs no order: no server takes so
many prompts at once.) A restart breaks all sockets; and history goes with it:
whoever still finds an old prompt there knows that there was none.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Final

from comfysoak_core.clock import NS_PER_S

NUMBERS_KEPT: Final = 64
PROMPTS_PER_S_MOST: Final = 2000  # that one server takes: numbers given at the same time lie no further apart
AT_ONCE_MOST: Final = 16


class Fall(Enum):
    """What a queue number shows, compared with those before."""

    NONE = auto()
    AFTER_DROP = auto()  # a restart, or another server
    WITHOUT_DROP = auto()  # sockets stayed open: another server


class Address:
    """Shared by the lives of all prompts sent to one address by one process. Times are UTC ns of the run's clock."""

    __slots__ = (
        "_before_drop",
        "_dropped_ns",
        "_highest",
        "_highest_ns",
        "_numbers",
        "heard",
        "open_posts",
        "posts",
        "several",
    )

    def __init__(self) -> None:
        self.several = False  # proven: requests to it reach different servers
        self.heard = False  # some socket was told of the end of a prompt sent here
        self.posts = 0  # submissions begun
        self.open_posts = 0  # of these not answered yet
        self._highest = self._before_drop = -1
        self._highest_ns = 0  # when the answer with the highest number was read
        self._dropped_ns = 0
        self._numbers: deque[int] = deque(maxlen=NUMBERS_KEPT)  # the last ones given since

    def dropped(self, at_ns: int) -> None:
        """A socket broke without a close frame, or a connection was refused: the server may have been restarted."""
        self._dropped_ns = at_ns
        self._before_drop = max(self._before_drop, self._highest)
        self._numbers.clear()

    def numbered(self, number: object, sent_ns: int, at_ns: int) -> Fall:
        """A prompt sent at `sent_ns` was given `number`, as read at `at_ns`.

        Numbers that clients chose (floats) and those of prompts sent to the front (negative) say nothing.
        """
        if self.several or type(number) is not int or number < 0:
            return Fall.NONE
        fall = Fall.NONE
        at_once = AT_ONCE_MOST + (at_ns - sent_ns) * PROMPTS_PER_S_MOST // NS_PER_S
        if number in self._numbers or (self._numbers and number + at_once < max(self._numbers)):
            fall = Fall.WITHOUT_DROP
        elif sent_ns >= self._dropped_ns and number <= self._before_drop:
            fall = Fall.AFTER_DROP
        elif sent_ns >= self._highest_ns and number <= self._highest:
            fall = Fall.AFTER_DROP if self._dropped_ns > self._highest_ns else Fall.WITHOUT_DROP
        self._numbers.append(number)
        if number > self._highest:
            self._highest, self._highest_ns = number, at_ns
        return fall

    def begin_again(self) -> None:
        """The server was restarted: numbers count from zero."""
        self._highest = self._before_drop = -1
        self._numbers.clear()

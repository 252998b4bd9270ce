"""The sessions of a plan: sockets beside those of the users, and what is done to sockets while there is load."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal

from comfysoak_core.scenario.frozen import Frozen

MOST_OPENING_S = 15.0  # a socket that does not open is given up after so long


class ReconnectOrder(StrEnum):
    """In which order a socket is exchanged for another with the same client id."""

    CLOSE_FIRST = "close-first"
    OPEN_FIRST = "open-first"


class Stalled(Frozen):
    """Clients that do not read, for `reads_nothing_for_s`: first after `after_s`, then `every_s` (None: once)."""

    sockets: int = 1
    reads_nothing_for_s: float = 30.0
    after_s: float = 0.0
    every_s: float | None = None
    then: Literal["read", "close"] = "read"
    sends: str | None = None  # a prompt of this workload as it stalls, so that there is something to tell it


class Reconnects(Frozen):
    """`share` of the open sockets of users and watchers, `every_s`; without an `order` each of the two in turn."""

    every_s: float
    share: float = 1.0
    order: ReconnectOrder | None = ReconnectOrder.CLOSE_FIRST


class Sessions(Frozen):
    """`watchers` are held; `churn_per_s` sockets open each second, and stay between the two `stays_s`."""

    watchers: int = 0
    churn_per_s: float = 0.0
    stays_s: tuple[float, float] = (1.0, 10.0)
    stalled: Stalled | None = None
    reconnects: Reconnects | None = None

    @property
    def sockets_most(self) -> int:
        """The largest number of them at any moment, should none that is opened by churn answer."""
        churned = math.ceil(self.churn_per_s * (self.stays_s[1] + MOST_OPENING_S))
        return self.watchers + churned + (self.stalled.sockets if self.stalled is not None else 0)

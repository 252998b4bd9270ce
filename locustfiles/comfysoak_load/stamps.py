"""When bytes arrived: the kernel's own stamp on Linux, and how far it can be wrong.

User-space time is late by milliseconds under load. The kernel stamps each packet; `recvmsg` gives the stamp of the
last one of a read. A message that ended with the read came at that stamp; one that shared its read with later ones
came at some moment since the read before: that distance is its error bound. Where there are no kernel stamps the
time is that of the read.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

from comfysoak_core.clock import AnchoredClock

_SO_TIMESTAMPNS = 35  # of Linux; Python names it from 3.14 on
_SCM_TIMESTAMPNS = _SO_TIMESTAMPNS
_TIMESPEC = struct.Struct("@ll")
ANCILLARY_BYTES = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
STAMP_ERROR_NS = 100_000  # a kernel stamp, converted to the run's clock, is right within this

Ancillary = list[tuple[int, int, bytes]]


class Arrival(NamedTuple):
    """When a message arrived: at `at_ns` or earlier, by no more than `error_ns`."""

    at_ns: int
    error_ns: int


def ask_for_stamps(sock: socket.socket) -> bool:
    """Have the kernel stamp what this socket receives; False where it cannot."""
    if sys.platform != "linux":
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


def stamp_of(ancillary: Ancillary) -> int | None:
    """The kernel's stamp (system clock, ns) among what came with a read; None when there is none."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SCM_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None


class ReadTimes:
    """The times of one socket's reads. One object per socket: small, and told of every read in order."""

    __slots__ = ("_clock", "_previous_ns", "exact", "shared")

    def __init__(self, clock: AnchoredClock) -> None:
        self._clock = clock
        self._previous_ns = clock.now_ns()
        self.exact = Arrival(self._previous_ns, 0)
        self.shared = self.exact

    def read(self, ancillary: Ancillary, *, drained: bool) -> None:
        """A read has happened; sets `exact` (for what ended with it) and `shared` (for what came before that).

        `drained` is False when the read filled its buffer: packets still waiting may have been merged into the last
        one read, so that its stamp is theirs.
        """
        now = self._clock.now_ns()
        stamp = stamp_of(ancillary)
        at = now if stamp is None else self._clock.from_system_ns(stamp)
        if stamp is not None and not self._previous_ns - STAMP_ERROR_NS <= at <= now:
            at, stamp = self._after_a_step(stamp, now)
        since_previous = max(at - self._previous_ns, 0) + STAMP_ERROR_NS
        self.shared = Arrival(at, since_previous)
        self.exact = Arrival(at, STAMP_ERROR_NS) if stamp is not None and drained else self.shared
        self._previous_ns = at

    def _after_a_step(self, stamp: int, now: int) -> tuple[int, int | None]:
        """The system clock was set since its offset was last read, or drifted a little: read it again, then decide."""
        self._clock.read_offset()
        at = min(self._clock.from_system_ns(stamp), now)
        if at < self._previous_ns - STAMP_ERROR_NS:
            return now, None
        return at, stamp

"""When bytes arrived: the kernel's own stamp on Linux, and how far it can be wrong.

User-space time is late by milliseconds under load. The kernel stamps each packet; `recvmsg` gives the stamp of the
last one of a read. A message that ended with the read came at that stamp; one that shared its read with later ones
came at some moment since the kernel's buffer was last known to be empty (the floor): that distance is its error
bound. Where there are no kernel stamps the time is that of the read.
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


def time_of_read(clock: AnchoredClock, floor_ns: int, ancillary: Ancillary, *, drained: bool) -> Arrival:
    """When that arrived which ended with a read just done; `floor_ns` is when the kernel's buffer was last empty.

    `drained` is False when the read filled its buffer: packets still waiting may have been merged into the last one
    read, so that its stamp is theirs. The floor of the next read is then the same; else it is `at_ns`.
    """
    now = clock.now_ns()
    stamp = stamp_of(ancillary)
    if stamp is None:
        return within(now, floor_ns)
    at = clock.from_system_ns(stamp)
    if not floor_ns - STAMP_ERROR_NS <= at <= now:
        # The system clock was set since its offset was last read, or drifted a little.
        clock.read_offset()
        at = min(clock.from_system_ns(stamp), now)
        if at < floor_ns - STAMP_ERROR_NS:
            return within(now, floor_ns)
    return Arrival(at, STAMP_ERROR_NS) if drained else within(at, floor_ns)


def within(at_ns: int, floor_ns: int) -> Arrival:
    """What arrived at some moment between the two."""
    return Arrival(at_ns, max(at_ns - floor_ns, 0) + STAMP_ERROR_NS)

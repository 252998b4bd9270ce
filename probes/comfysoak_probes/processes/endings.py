"""How a process that is not our child has ended, where the kernel tells it: Linux 6.15 and newer."""

from __future__ import annotations

import os
import signal
import struct

import psutil

# <linux/pidfd.h>: PIDFD_GET_INFO is _IOWR(0xFF, 11, struct pidfd_info of 64 bytes); the status is its last field.
INFO_BYTES = 64
GET_INFO = (3 << 30) | (INFO_BYTES << 16) | (0xFF << 8) | 11
INFO_EXIT = 1 << 3


class Ending:
    """A handle to a process, taken while it lives, that still tells of it when it is gone."""

    def __init__(self, pid: int) -> None:
        self._handle: int | None = None
        if psutil.LINUX:
            try:
                self._handle = os.pidfd_open(pid)
            except OSError:  # before 5.3, or forbidden
                return

    def status(self) -> int | None:
        """As `os.wait` tells it; None while it lives and where the kernel does not tell."""
        if self._handle is None:
            return None
        import fcntl  # there is none on Windows

        info = bytearray(struct.pack("=Q", INFO_EXIT).ljust(INFO_BYTES, b"\0"))
        try:
            fcntl.ioctl(self._handle, GET_INFO, info)
        except OSError:
            return None
        known = struct.unpack_from("=Q", info)[0] & INFO_EXIT
        return struct.unpack_from("=i", info, INFO_BYTES - 4)[0] if known else None

    def close(self) -> None:
        """Let go of the handle."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def in_words(status: int | None) -> str:
    """What a wait status says: `ended with status 1`, `was killed by SIGKILL`."""
    if status is None:
        return "how it ended is not known"
    if not os.WIFSIGNALED(status):
        return f"ended with status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    try:
        return f"was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"was killed by signal {number}"

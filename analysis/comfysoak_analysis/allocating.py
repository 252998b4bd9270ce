"""How a process that reads large tables allocates: what one table needed goes back before the next one is read."""

from __future__ import annotations

import ctypes

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt (malloc.h of glibc)
_LARGE_BYTES = 8 << 20
_KEPT_BYTES = 64 << 20  # else each block that is freed costs the faults of the next one; `trim` gives it back


def trim() -> None:
    """Give back what has been freed between blocks that are still in use; nothing where there is no glibc."""
    pa.default_memory_pool().release_unused()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def give_memory_back() -> None:
    """For a process of its own, in which Arrow asks the C library: that returns each large block once it is free.

    Without it glibc's growing threshold keeps what was freed. Nothing where there is no glibc.
    """
    try:
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)  # each thread of Arrow would keep one of its own, in pieces
    except (AttributeError, OSError, TypeError):  # no glibc
        return

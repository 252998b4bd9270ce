"""Puts what comes nearly in order of time into order, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final, Protocol, TypeVar

WINDOW: Final = 10_000  # so many lines may something be out of place
WINDOW_BYTES: Final = 64 * 1024 * 1024


class Timed(Protocol):
    """What has a time, and a size for as long as it is held."""

    @property
    def time_s(self) -> float:
        """When it was."""

    @property
    def size_bytes(self) -> int:
        """About how much it takes."""


T = TypeVar("T", bound=Timed)


class TooLateError(ValueError):
    """Something comes so late that what is after it has been passed on already."""

    def __init__(self, what: Timed, behind_s: float, window: int) -> None:
        super().__init__(f"{behind_s:.6g} s earlier than what stands more than {window:,} lines before it")
        self.what = what


def in_order(items: Iterable[T], window: int = WINDOW) -> Iterator[T]:
    """`items` by their time, equals as they came; raises TooLateError for what is out of place by more than `window`.

    Where items are large the window is smaller: `WINDOW_BYTES` in all.
    """
    held: list[tuple[float, int, T]] = []
    size_bytes, last_s = 0, float("-inf")
    for number, item in enumerate(items):
        if item.time_s < last_s:
            raise TooLateError(item, last_s - item.time_s, window)
        heapq.heappush(held, (item.time_s, number, item))
        size_bytes += item.size_bytes
        if len(held) > window or size_bytes > WINDOW_BYTES:
            last_s, _, first = heapq.heappop(held)
            size_bytes -= first.size_bytes
            yield first
    while held:
        yield heapq.heappop(held)[2]

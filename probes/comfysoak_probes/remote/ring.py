"""The last minutes of rows, numbered: what a reader on another machine has not fetched yet waits here.

Rows are kept as the JSON they are sent as, in batches of one table. The first row ever is number 1; whoever has rows
up to a number asks for what comes after it, and sees by the numbers whether anything was lost between.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.recording.encoding import RowEncoder
from comfysoak_core.recording.journal import columns
from comfysoak_core.rows import Row

RING_BYTES = 12 * 1024 * 1024  # takes 17 MB; with the rest of the process that stays below 60
BATCH_ROWS = 500
BATCH_BYTES = 400  # what a batch costs in memory beside its text


@dataclass(frozen=True, slots=True)
class Stored:
    """Rows of one table that came together: `rows` is a JSON list of them, `first` the number of the first."""

    first: int
    count: int
    at_ns: int
    table: str
    rows: bytes

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some batches in order; the oldest row there is has number `first`, the next one to come will have `next`."""

    first: int
    next: int
    batches: tuple[Stored, ...]


class Ring:
    """Rows of the last `keep_s` seconds, and never more than `bytes_most`. Safe to use from all threads."""

    def __init__(self, clock: Clock, *, keep_s: float, bytes_most: int = RING_BYTES) -> None:
        self.identity = os.urandom(8).hex()  # another one after each start: its numbers begin again
        self._clock = clock
        self._keep_ns = round(keep_s * NS_PER_S)
        self._bytes_most = bytes_most
        self._encoder = RowEncoder()
        self._values: dict[str, attrgetter[Any]] = {}
        self._lock = threading.Lock()
        self._batches: deque[Stored] = deque()
        self._bytes = 0
        self._next = 1
        self.shortened_ns: int | None = None  # when rows younger than `keep_s` last had to make room

    def take(self, rows: Iterable[Row]) -> None:
        """Keep these rows; old ones make room for them."""
        tables: dict[str, list[Row]] = {}
        for row in rows:
            tables.setdefault(row.TABLE, []).append(row)
        for table, group in tables.items():
            values = self._values.get(table)
            if values is None:
                values = self._values[table] = attrgetter(*columns(type(group[0])))
            for begin in range(0, len(group), BATCH_ROWS):
                part = [values(row) for row in group[begin : begin + BATCH_ROWS]]
                self._keep(table, len(part), self._encoder.encode(part))
        self._forget()

    def close(self) -> None:
        """Nothing more will come; what is here can still be read."""

    @property
    def kept_s(self) -> float:
        """How far back it reaches now."""
        with self._lock:
            return (self._clock.now_ns() - self._batches[0].at_ns) / NS_PER_S if self._batches else 0.0

    def after(self, number: int, bytes_most: int) -> Excerpt:
        """The batches with rows after this number: at least one, then as many as `bytes_most` has room for."""
        with self._lock:
            found: list[Stored] = []
            for batch in reversed(self._batches):
                if batch.last <= number:
                    break
                found.append(batch)
            return self._excerpt(found[::-1], bytes_most)

    def since(self, at_ns: int, bytes_most: int) -> Excerpt:
        """As `after`, of all batches kept from this moment of the probe's clock on."""
        with self._lock:
            found: list[Stored] = []
            for batch in reversed(self._batches):
                if batch.at_ns < at_ns:
                    break
                found.append(batch)
            return self._excerpt(found[::-1], bytes_most)

    def _excerpt(self, batches: list[Stored], bytes_most: int) -> Excerpt:
        size = taken = 0
        for batch in batches:
            size += len(batch.rows)
            if taken and size > bytes_most:
                break
            taken += 1
        first = self._batches[0].first if self._batches else self._next
        return Excerpt(first, self._next, tuple(batches[:taken]))

    def _keep(self, table: str, count: int, text: bytes) -> None:
        with self._lock:
            self._batches.append(Stored(self._next, count, self._clock.now_ns(), table, text))
            self._next += count
            self._bytes += len(text) + BATCH_BYTES

    def _forget(self) -> None:
        oldest_ns = self._clock.now_ns() - self._keep_ns
        with self._lock:
            while self._batches:
                first = self._batches[0]
                if first.at_ns >= oldest_ns:
                    if self._bytes <= self._bytes_most:
                        return
                    self.shortened_ns = self._clock.now_ns()
                self._bytes -= len(first.rows) + BATCH_BYTES
                self._batches.popleft()

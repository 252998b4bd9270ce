"""How many entries a server's history has, found by asking for single ones: fetching it whole blocks its loop.

`GET /history?max_items=1&offset=N` is `{}` beyond the end (0.3.64 and 0.33 alike), so the end is where entries stop.
"""

from __future__ import annotations

from collections.abc import Generator

from comfysoak_core.comfyui.json_text import excerpt
from comfysoak_probes.fetch import MIB, Fetcher, FetchError, Trouble

LENGTH_EVERY_S = 10.0
LARGE_EVERY_S = 60.0  # where entries are larger: the server tells them whole, in its loop, whatever we read of them
ENTRY_BYTES = MIB // 4  # of a larger entry no more is read: that it is there is enough
REQUESTS_MOST = 8  # a reading; a longer search goes on with the next one
FAR = 1_000_000_000  # no history is that long: a server that answers with an entry does not read the parameters


def search(known: int) -> Generator[int, bool, int]:
    """Yields offsets, is sent whether there is an entry at each, and returns the length.

    Begins at the length known from before: where little has changed, two or three questions are enough.
    """
    low, high = yield from _bracket(known)
    while high - low > 1:
        middle = (low + high) // 2
        if (yield middle):
            low = middle
        else:
            high = middle
    return high


def _bracket(known: int) -> Generator[int, bool, tuple[int, int]]:
    """An offset with an entry (-1: there is none) and a higher one without, by steps that double."""
    step = 1
    if (yield known):
        low = known
        while (yield low + step):
            low += step
            step *= 2
        return low, low + step
    high = known
    while high > 0:
        low = max(0, high - step)
        if (yield low):
            return low, high
        high = low
        step *= 2
    return -1, 0


class HistoryLength:
    """Follows the length of one server's history over a connection of its own."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._known = 0
        self._search: Generator[int, bool, int] | None = None
        self._asking = 0
        self._reads_parameters = False
        self._is_large = False
        self.refusal: str | None = None  # why it is asked no more

    @property
    def searching(self) -> bool:
        """A search was begun and goes on with the next reading."""
        return self._search is not None

    @property
    def every_s(self) -> float:
        """Seconds between two readings, by the size of the entries seen last."""
        return LARGE_EVERY_S if self._is_large else LENGTH_EVERY_S

    def read(self) -> int | None:
        """The length; None while the search goes on, or where the server does not tell (`refusal`).

        Raises FetchError when there is no answer.
        """
        for _ in range(REQUESTS_MOST if self.refusal is None else 0):
            if self._search is None:
                self._is_large = False
                self._search = search(self._known)
                self._asking = next(self._search)
            there = self._is_there(self._asking)
            if self.refusal is not None:
                return None
            try:
                self._asking = self._search.send(there)
            except StopIteration as end:
                self._search, self._known = None, int(end.value)
                return self._known
        return None

    def forget(self) -> None:
        """The server was started again: its history is empty, and it may be another version."""
        self._known, self._search, self._reads_parameters, self.refusal = 0, None, False, None

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()

    def _is_there(self, offset: int) -> bool:
        """Whether there is an entry at `offset`; at the first one, also whether the server reads the parameters."""
        there = self._ask(offset)
        if there and not self._reads_parameters:
            self._reads_parameters = not self._ask(FAR)
            if not self._reads_parameters:
                self.refusal = "this server does not read max_items and offset"
        return there

    def _ask(self, offset: int) -> bool:
        try:
            answer = self._fetcher.get(f"/history?max_items=1&offset={offset}")
        except FetchError as error:
            if error.trouble is Trouble.TOO_LARGE:
                self._is_large = True
                return True
            self._search = None
            raise
        body = answer.body.strip()
        if answer.status != 200 or not body.startswith(b"{"):
            self._search = None
            got = f"status {answer.status}, {excerpt(answer.body)}"[:200]
            raise FetchError(Trouble.NOT_HTTP, f"expected 200 with an object, got {got}")
        return body != b"{}"

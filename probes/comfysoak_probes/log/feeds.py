"""Where the lines of a server's log come from: its WebSocket, its HTTP route, or its log file on this host."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from comfysoak_core.comfyui.json_text import document_or_none
from comfysoak_probes.fetch import MIB, Fetcher, FetchError, Trouble
from comfysoak_probes.log.entry_clock import EntryClock
from comfysoak_probes.log.lines import Lines
from comfysoak_probes.log.web_socket import ListeningSocket

FILE_READ_BYTES = 1 * MIB
SOCKET_WAIT_S = 0.5
RAW_BYTES = 16 * MIB
RAW_ENTRIES = 300  # so many the server keeps: fewer, and it has said no more since it began


@dataclass(frozen=True, slots=True)
class Stamped:
    """A line and when it was written (UTC ns of the run's clock, as well as it can be told)."""

    at_ns: int
    text: str
    before_us: bool = False  # it was there when we came: worth only what is said once, at the server's start


class Feed(Protocol):
    """One way to the lines of one server."""

    source: str  # as in the column `source`
    every_s: float

    def lines(self) -> list[Stamped]:
        """What was written since the call before; the first call opens it. Raises FetchError or OSError."""

    def gap(self) -> str | None:
        """Why lines were lost since the call before; None: none were, as far as one can tell."""

    def close(self) -> None:
        """Let go of it; `lines` opens it again."""


@dataclass(slots=True)
class Entries:
    """Turns entries `{"t", "m"}` into lines."""

    clock: EntryClock = field(default_factory=EntryClock)
    _pieces: Lines = field(default_factory=Lines)

    def lines(self, entries: list[dict[str, Any]], arrived_ns: int) -> list[Stamped]:
        """The lines that these entries end, each with the time of the entry that ends it."""
        found: list[Stamped] = []
        for entry in entries:
            at_ns = self.clock.at_ns(entry.get("t"), arrived_ns)
            text = entry.get("m")
            piece = text if isinstance(text, str) else ""
            if self._pieces.in_bar and not piece.startswith(("\r", "\n")):
                self._pieces.reset()  # a line that a logger writes while a bar is shown is not the end of the bar
            found += [Stamped(at_ns, line) for line in self._pieces.feed(piece)]
        return found

    def reset(self) -> None:
        """Entries were lost: forget the line that waits for its end."""
        self._pieces.reset()


def entries_of(document: object) -> list[dict[str, Any]]:
    """The entries of `/internal/logs/raw` or of a `logs` message; empty for anything else."""
    entries = document.get("entries") if isinstance(document, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


@dataclass(slots=True)
class NewEntries:
    """Which entries of `/internal/logs/raw` (the last 300) are new, by the last whole line known."""

    lost: bool = False  # the last whole line known was no longer there, and as many as the server keeps
    _last: tuple[str, str] | None = None
    _begun: bool = False

    @property
    def begun(self) -> bool:
        """False: everything there is was written before we came."""
        return self._begun

    def of(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """New whole lines; at first none, for what is there already was written before we came."""
        whole = _through_last_newline(entries)
        keys = [(str(entry.get("t")), str(entry.get("m"))) for entry in whole]
        known = max((index for index, key in enumerate(keys) if key == self._last), default=None)
        self.lost |= self._last is not None and known is None and len(entries) >= RAW_ENTRIES
        begun, self._begun = self._begun, True
        if keys:
            self._last = keys[-1]
        if not begun:
            return []
        return whole if known is None else whole[known + 1 :]

    def gap(self) -> str | None:
        """Why entries were lost since the call before."""
        lost, self.lost = self.lost, False
        return f"more than the {RAW_ENTRIES} entries that the server keeps came between two readings" if lost else None

    def begin(self) -> None:
        """The server is not there: everything it will have written is new."""
        self._begun = True

    def note(self, entries: list[dict[str, Any]]) -> None:
        """Entries that came another way are known, too."""
        whole = _through_last_newline(entries)
        if whole:
            self._last = (str(whole[-1].get("t")), str(whole[-1].get("m")))


def _through_last_newline(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the last ones that end no line: a progress bar's, which the server will take out again."""
    end = max((index for index, entry in enumerate(entries) if str(entry.get("m")).endswith("\n")), default=-1)
    return entries[: end + 1]


class SocketFeed:
    """`PATCH /internal/logs/subscribe` and a WebSocket; after a cut the gap is read from `/internal/logs/raw`."""

    source = "socket"
    every_s = 0.0  # `lines` waits by itself

    def __init__(
        self, server: str, *, now_ns: Callable[[], int], token: str | None = None, new: NewEntries | None = None
    ) -> None:
        self._server = server
        self._token = token
        self._now_ns = now_ns
        self._fetcher = Fetcher(server, token=token, bytes_most=RAW_BYTES)
        self._socket: ListeningSocket | None = None
        self._entries = Entries()
        self._new = new or NewEntries()

    def lines(self) -> list[Stamped]:
        """Lines as they come; waits half a second for one.

        Raises FetchError when the server ends it or has no such route.
        """
        if self._socket is None:
            return self._open()
        found: list[Stamped] = []
        for text in self._socket.messages(SOCKET_WAIT_S):
            if '"logs"' in text[:40]:
                document = document_or_none(text.encode("utf-8", "replace"))
                entries = entries_of(document.get("data") if isinstance(document, dict) else None)
                self._new.note(entries)
                found += self._entries.lines(entries, self._now_ns())
        return found

    def gap(self) -> str | None:
        """Why lines were lost since the call before."""
        return self._new.gap()

    def close(self) -> None:
        """Close the socket."""
        self._fetcher.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> list[Stamped]:
        client_id = uuid.uuid4().hex
        self._entries.reset()
        try:
            sock = ListeningSocket(self._server, f"/ws?clientId={client_id}", token=self._token)
        except FetchError as error:
            if error.trouble is Trouble.REFUSED:
                self._new.begin()
            raise
        try:
            body = f'{{"clientId": "{client_id}", "enabled": true}}'.encode()
            answer = self._fetcher.request("PATCH", "/internal/logs/subscribe", body)
            if answer.status != 200:
                raise FetchError(Trouble.NOT_HTTP, f"PATCH /internal/logs/subscribe answered {answer.status}")
            missed = _entries_since(self._new, self._entries, self._fetcher, self._now_ns())
        except FetchError:
            sock.close()
            raise
        self._fetcher.close()
        self._socket = sock
        return missed


def _entries_since(new: NewEntries, entries: Entries, fetcher: Fetcher, now_ns: int) -> list[Stamped]:
    """What `/internal/logs/raw` has that is new; at the first time all of it, marked as written before we came.

    Those have the time they were read at: how far the server's clock is from ours is not known yet.
    """
    raw, begun = raw_entries(fetcher), new.begun
    fresh = new.of(raw)
    if begun:
        return entries.lines(fresh, now_ns)
    return [Stamped(now_ns, line.text, before_us=True) for line in Entries().lines(raw, now_ns)]


def raw_entries(fetcher: Fetcher) -> list[dict[str, Any]]:
    """GET /internal/logs/raw. Raises FetchError, also for an answer that is something else."""
    answer = fetcher.get("/internal/logs/raw")
    document = document_or_none(answer.body)
    if answer.status != 200 or not isinstance(document, dict) or "entries" not in document:
        raise FetchError(Trouble.NOT_HTTP, f"GET /internal/logs/raw answered {answer.status} without entries")
    return entries_of(document)


class RawFeed:
    """`GET /internal/logs/raw` once a second, for a server (or a proxy before it) without the subscription."""

    source = "http"
    every_s = 1.0

    def __init__(
        self, server: str, *, now_ns: Callable[[], int], token: str | None = None, new: NewEntries | None = None
    ) -> None:
        self._fetcher = Fetcher(server, token=token, bytes_most=RAW_BYTES)
        self._now_ns = now_ns
        self._entries = Entries()
        self._new = new or NewEntries()

    def lines(self) -> list[Stamped]:
        """Lines since the call before. Raises FetchError."""
        return _entries_since(self._new, self._entries, self._fetcher, self._now_ns())

    def gap(self) -> str | None:
        """Why lines were lost since the call before."""
        return self._new.gap()

    def close(self) -> None:
        """Close the connection."""
        self._fetcher.close()


class FileFeed:
    """The server's log file on this host, from its end on; followed when it is rotated or cut."""

    source = "file"
    every_s = 0.1  # a line has no time of its own here: it is as good as this is short

    def __init__(self, path: Path, *, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._now_ns = now_ns
        self._fd = -1
        self._inode: tuple[int, int] | None = None
        self._position = 0
        self._begun = False
        self._pieces = Lines()
        self._skipped_bytes = 0

    def lines(self) -> list[Stamped]:
        """Lines since the call before, at the time they were read. Raises OSError when there is no such file."""
        now_ns = self._now_ns()
        text = ""
        if self._fd >= 0 and self._moved():
            text = self._read()  # the end of the file that was put away
            self.close()
        if self._fd < 0:
            self._open()
        text += self._read()
        return [Stamped(now_ns, line) for line in self._pieces.feed(text)]

    def gap(self) -> str | None:
        """Why lines were lost since the call before."""
        skipped, self._skipped_bytes = self._skipped_bytes, 0
        return f"{skipped:,} bytes of the log file were skipped: it grew too fast" if skipped else None

    def close(self) -> None:
        """Close the file; the place in it is kept for the same file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """At the end of a file that was there when we came, at the beginning of one that came later."""
        self._fd = os.open(
            self._path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        )  # Windows: bytes as they are
        status = os.fstat(self._fd)
        inode = (status.st_dev, status.st_ino)
        if inode != self._inode:
            self._position = 0 if self._begun else status.st_size
            self._inode, self._begun = inode, True

    def _moved(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False  # between the two steps of a rotation
        return (status.st_dev, status.st_ino) != self._inode

    def _read(self) -> str:
        size = os.fstat(self._fd).st_size
        if size < self._position:
            self._position = 0  # it was cut and written anew
            self._pieces.reset()
        if size - self._position > FILE_READ_BYTES:
            self._skipped_bytes += size - FILE_READ_BYTES - self._position  # a flood: the latest counts
            self._position = size - FILE_READ_BYTES
            self._pieces.reset()
        os.lseek(self._fd, self._position, os.SEEK_SET)
        data = os.read(self._fd, size - self._position)
        self._position += len(data)
        return data.decode("utf-8", "replace")

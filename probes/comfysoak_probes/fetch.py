"""HTTP answers from whoever is at the other end: bounded in bytes, in headers and in the whole time they take.

`http.client` costs 0.5 ms a request at 10 Hz and has no bound on the whole time. Here a GET is one write and a few
reads on a connection that is kept.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

MIB = 1024 * 1024
CHUNK = 64 * 1024
HEAD_BYTES = 32 * 1024


class Trouble(StrEnum):
    """Why there is no answer."""

    REFUSED = "refused"  # nobody listens there
    UNREACHABLE = "unreachable"  # no such host, no route, cut while answering
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    NOT_HTTP = "not_http"


class FetchError(Exception):
    """There is no answer, or none that can be read; `trouble` says which kind, the text says it in words."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        self.trouble = trouble
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, content type and body of an answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """Where a URL leads: `path` is put before every path asked for."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        """The parts of an http or https URL; ValueError for anything else."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"expected a URL such as http://gpu-1:8188, got {url!r}")
        tls = parts.scheme == "https"
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/") + query)

    @property
    def authority(self) -> str:
        """What stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def connect(address: Address, timeout_s: float) -> socket.socket:
    """A connected socket, with TLS where the address asks for it. Raises FetchError."""
    try:
        raw = socket.create_connection((address.host, address.port), timeout_s)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.tls:
            return raw
        import ssl  # 5 MB that only those with a TLS target pay

        return ssl.create_default_context().wrap_socket(raw, server_hostname=address.host)
    except ConnectionRefusedError as error:
        raise FetchError(Trouble.REFUSED, "connection refused") from error
    except TimeoutError as error:
        raise FetchError(Trouble.TIMEOUT, f"no connection within {timeout_s:.0f} s") from error
    except OSError as error:
        raise FetchError(Trouble.UNREACHABLE, f"cannot be reached: {error}") from error


class Fetcher:
    """Asks one server, over a connection that is kept; not safe to use from two threads."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_s: float = 5.0,
        bytes_most: int = 8 * MIB,
        now_s: Callable[[], float] = time.monotonic,
        connected: Callable[[Address, float], socket.socket] = connect,
    ) -> None:
        self.address = Address.of(url)
        self._token = token
        self._timeout_s = timeout_s
        self._bytes_most = bytes_most
        self._now_s = now_s
        self._connected = connected
        self._socket: socket.socket | None = None

    def get(self, path: str = "") -> Answer:
        """The answer to GET, whatever its status. Raises FetchError."""
        return self.request("GET", path)

    def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """The answer to a request with a JSON body, if any. Raises FetchError."""
        kept = self._socket is not None
        try:
            return self._exchange(method, path, body)
        except FetchError as error:
            self.close()
            if not kept or error.trouble is not Trouble.UNREACHABLE:
                raise
        try:
            return self._exchange(method, path, body)  # the kept connection was closed meanwhile: a new one
        except FetchError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, method: str, path: str, body: bytes) -> Answer:
        deadline_s = self._now_s() + self._timeout_s
        if self._socket is None:
            self._socket = self._connected(self.address, self._timeout_s)
        reader = _Reader(self._socket, deadline_s, self._timeout_s, self._bytes_most, self._now_s)
        reader.send(self._head(method, path, body) + body)
        head = parse_head(reader.until(b"\r\n\r\n", HEAD_BYTES))
        while head.status < 200:  # "early hints" and the like come before the answer
            head = parse_head(reader.until(b"\r\n\r\n", HEAD_BYTES))
        text = _body(reader, head, method)
        if head.closes:
            self.close()
        return Answer(head.status, head.content_type, text)

    def _head(self, method: str, path: str, body: bytes) -> bytes:
        target = self.address.path + path or "/"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.address.authority}", "Accept: */*"]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        if body or method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


@dataclass(frozen=True, slots=True)
class Head:
    """What the first lines of an answer say; `length` None: until the connection closes."""

    status: int
    content_type: str
    length: int | None
    chunked: bool
    closes: bool


_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: |$)")


def parse_head(raw: bytes) -> Head:
    """Status line and headers. Raises FetchError when it is no HTTP/1 answer."""
    first, *lines = raw.split(b"\r\n")
    match = _STATUS.match(first)
    if match is None:
        raise FetchError(Trouble.NOT_HTTP, f"expected an HTTP answer, got {first[:60]!r}")
    headers = dict(_header(line) for line in lines if b":" in line)
    status = int(match[2])
    length = headers.get("content-length", "")
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    bodyless = status in {204, 304} or status < 200
    known = 0 if bodyless else int(length) if length.isdecimal() and len(length) < 19 else None
    connection = headers.get("connection", "").lower()
    closes = "close" in connection or match[1] == b"0" or (known is None and not chunked)
    return Head(status, headers.get("content-type", ""), known, chunked, closes)


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return name.decode("latin-1").strip().lower(), value.decode("latin-1").strip()


def _body(reader: _Reader, head: Head, method: str) -> bytes:
    if method == "HEAD":
        return b""
    if head.chunked:
        return _chunked(reader)
    return reader.rest() if head.length is None else reader.exactly(head.length)


def _chunked(reader: _Reader) -> bytes:
    parts: list[bytes] = []
    while True:
        line = reader.until(b"\r\n", 1024).split(b";")[0].strip()
        if _CHUNK_SIZE.fullmatch(line) is None:  # `int` would take -5 and 1_0 as well
            raise FetchError(Trouble.NOT_HTTP, f"expected the size of a chunk, got {line[:20]!r}")
        size = int(line, 16)
        if size == 0:
            while reader.until(b"\r\n", HEAD_BYTES):
                pass  # trailers
            return b"".join(parts)
        parts.append(reader.exactly(size))
        reader.until(b"\r\n", 2)


class _Reader:
    """Bytes of one answer, within its bounds."""

    def __init__(
        self, sock: socket.socket, deadline_s: float, timeout_s: float, bytes_most: int, now_s: Callable[[], float]
    ) -> None:
        self._socket = sock
        self._deadline_s = deadline_s
        self._timeout_s = timeout_s
        self._bytes_most = bytes_most
        self._left = bytes_most + HEAD_BYTES
        self._now_s = now_s
        self._buffer = b""
        self._at = 0  # what comes before it was taken: cutting it off for each of many small chunks would cost seconds

    def send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise FetchError(Trouble.UNREACHABLE, f"the connection broke: {error}") from error

    def until(self, end: bytes, most: int) -> bytes:
        while (index := self._buffer.find(end, self._at)) < 0:
            if len(self._buffer) - self._at > most:
                raise FetchError(Trouble.NOT_HTTP, f"expected {end!r} within {most} bytes")
            self._buffer = self._taken() + self._more()
        found = self._buffer[self._at : index]
        self._at = index + len(end)
        return found

    def exactly(self, size: int) -> bytes:
        if size > self._bytes_most:
            raise self._too_large()
        if len(self._buffer) - self._at >= size:
            self._at += size
            return self._buffer[self._at - size : self._at]
        parts = [self._taken()]
        length = len(parts[0])
        while length < size:
            parts.append(self._more())
            length += len(parts[-1])
        whole = b"".join(parts)
        self._buffer = whole[size:]
        return whole[:size]

    def rest(self) -> bytes:
        parts = [self._taken()]
        while part := self._receive():
            parts.append(part)
        return b"".join(parts)

    def _taken(self) -> bytes:
        """What was received and not used; the buffer is empty then."""
        left, self._buffer, self._at = self._buffer[self._at :], b"", 0
        return left

    def _more(self) -> bytes:
        part = self._receive()
        if not part:
            raise FetchError(Trouble.UNREACHABLE, "the connection was closed in the middle of an answer")
        return part

    def _receive(self) -> bytes:
        left_s = self._deadline_s - self._now_s()
        if left_s <= 0:
            raise FetchError(Trouble.TIMEOUT, f"no whole answer within {self._timeout_s:.0f} s")
        try:
            if left_s < self._timeout_s / 2:
                self._socket.settimeout(left_s)
            part = self._socket.recv(CHUNK)
        except TimeoutError as error:
            raise FetchError(Trouble.TIMEOUT, f"no whole answer within {self._timeout_s:.0f} s") from error
        except OSError as error:
            raise FetchError(Trouble.UNREACHABLE, f"the connection broke: {error}") from error
        self._left -= len(part)
        if self._left < 0:
            raise self._too_large()
        return part

    def _too_large(self) -> FetchError:
        return FetchError(Trouble.TOO_LARGE, f"the answer is larger than {self._bytes_most / MIB:.0f} MiB")

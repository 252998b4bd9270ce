"""HTTP/1.1 answers out of bytes, without any I/O: only what a load generator needs of them, and strict about it."""

from __future__ import annotations

from comfysoak_core.value import value
from comfysoak_load.edge.failures import Failure, FailureKind

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
_NO_BODY = frozenset({204, 304})


@value()
class Answer:
    """A whole answer: its status, its body and what it says the body is (`""` when it says nothing)."""

    status: int
    body: bytes
    content_type: str = ""


class BadAnswerError(ValueError):
    """What came is not an HTTP answer, or is larger than agreed."""

    def __init__(self, what: str, kind: FailureKind = FailureKind.BAD_ANSWER) -> None:
        super().__init__(what)
        self.failure = Failure(kind, what, sent=True)


class AnswerReader:
    """Reads one answer. `feed` what comes until it returns True; `end` says that the connection has closed.

    `reusable` then tells whether the connection may carry another request. Both raise BadAnswerError.
    """

    __slots__ = ("_body", "_chunks", "_head", "_left", "_max_bytes", "content_type", "reusable", "status")

    def __init__(self, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.status = 0
        self.content_type = ""
        self.reusable = False
        self._max_bytes = max_bytes
        self._head = b""
        self._body: bytes | bytearray = b""
        self._left: int | None = None  # bytes of the body still to come; None: until the connection closes
        self._chunks: _Chunks | None = None

    def answer(self) -> Answer:
        """The answer, once it is whole."""
        return Answer(self.status, bytes(self._body), self.content_type)

    def feed(self, data: bytes) -> bool:
        """Take what came; True when the answer is whole."""
        while self.status == 0:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                if len(head) > MAX_HEAD_BYTES:
                    raise BadAnswerError(f"head of over {MAX_HEAD_BYTES} bytes")
                return False
            self._head = b""
            self._read_head(head)
        return self._take(data)

    def end(self) -> bool:
        """The connection has closed; True when that was the end of the answer."""
        if self.status == 0 or self._left is not None or self._chunks is not None:
            raise BadAnswerError("connection closed in the middle of the answer", FailureKind.RESET)
        return True

    def _read_head(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        parts = line.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or len(parts[1]) != 3 or not parts[1].isdigit():
            raise BadAnswerError(f"not an HTTP answer: {line[:60]!r}")
        status = int(parts[1])
        if 100 <= status < 200 and status != 101:
            return  # an interim answer: the real one follows
        self.status = status
        self.reusable = parts[0] != b"HTTP/1.0"
        length: int | None = None
        for field in fields.split(b"\r\n"):
            name, _, said = field.partition(b":")
            name = name.lower()
            if name == b"content-length":
                length = _content_length(said, length)
            elif name == b"content-type":
                self.content_type = said.strip().decode("latin-1")[:200]
            elif name == b"connection":
                self.reusable = self.reusable and b"close" not in said.lower()
            elif name == b"transfer-encoding" and b"chunked" in said.lower():
                self._chunks = _Chunks()
            elif name == b"content-encoding" and said.strip().lower() not in (b"", b"identity"):
                raise BadAnswerError(f"encoded as {said.strip()[:30]!r}, which was not asked for")
        self._left = 0 if self.status in _NO_BODY else length
        if self._chunks is not None:
            self._left = None
        if self._left is not None and self._left > self._max_bytes:
            raise BadAnswerError(f"{self._left} bytes, {self._max_bytes} allowed", FailureKind.TOO_BIG)

    def _take(self, data: bytes) -> bool:
        if self._chunks is not None:
            part, whole = self._chunks.feed(data)
            self._keep(part)
            self.reusable = self.reusable and not self._chunks.surplus
            return whole
        if self._left is None:
            self.reusable = False
            self._keep(data)
            return False
        if len(data) > self._left:
            self.reusable = False  # more than it said: whatever that is, it belongs to no request
            data = data[: self._left]
        self._left -= len(data)
        self._keep(data)
        return self._left == 0

    def _keep(self, part: bytes) -> None:
        if len(self._body) + len(part) > self._max_bytes:
            raise BadAnswerError(f"over {self._max_bytes} bytes", FailureKind.TOO_BIG)
        if not self._body:
            self._body = part
        elif isinstance(self._body, bytearray):
            self._body += part
        else:
            self._body = bytearray(self._body) + part


class _Chunks:
    """The chunked transfer coding: a size in hexadecimal, as many bytes and a line end, again and again."""

    __slots__ = ("_buffer", "_left", "_trailer", "surplus")

    def __init__(self) -> None:
        self._buffer = b""  # the beginning of a size line
        self._left = 0  # bytes of the current chunk still to come, with its line end
        self._trailer = False
        self.surplus = False

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The part of the body within `data`, and whether that was the last of it."""
        data = self._buffer + data
        self._buffer = b""
        body = bytearray()
        position = 0
        while position < len(data):
            if self._left:
                position = self._payload(data, position, body)
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._buffer = data[position:]
                break
            line, position = data[position:end], end + 2
            if not self._trailer:
                self._begin(line)
            elif not line:
                self.surplus = position < len(data)
                return bytes(body), True
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadAnswerError("chunk without a size")
        return bytes(body), False

    def _payload(self, data: bytes, position: int, body: bytearray) -> int:
        """Move the payload that begins at `position` into `body`; where it ends, its line end included."""
        taken = min(self._left, len(data) - position)
        line_end = min(self._left, 2) - min(self._left - taken, 2)
        body += data[position : position + taken - line_end]
        self._left -= taken
        return position + taken

    def _begin(self, line: bytes) -> None:
        size = line.split(b";", 1)[0].strip()
        if not size or len(size) > 15 or not all(digit in b"0123456789abcdefABCDEF" for digit in size):
            raise BadAnswerError(f"chunk of size {size[:20]!r}")
        length = int(size, 16)
        self._trailer = length == 0
        self._left = length + 2 if length else 0


def _content_length(value: bytes, before: int | None) -> int:
    text = value.strip()
    if not text.isdigit() or len(text) > 18 or (before is not None and before != int(text)):
        raise BadAnswerError(f"Content-Length {text[:30]!r}")
    return int(text)

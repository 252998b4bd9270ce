"""TLS over bytes: a raw socket below and messages above, so that the kernel's receive stamps are not lost."""

from __future__ import annotations

import ssl

_CHUNK_BYTES = 256 * 1024
_HEADER_BYTES = 5  # of a record: its type, a version, and the length of what follows in two bytes


class TlsBytes:
    """One TLS connection between two buffers.

    Give it what the network brought (`receive`), take from it what the network must get (`outgoing`). `ssl.SSLError`
    is raised for a certificate that does not hold and for anything that is not TLS.
    """

    __slots__ = ("_header", "_incoming", "_left", "_object", "_outgoing", "ended")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ended = False  # the server said that nothing more will come
        self._header = b""  # the beginning of a record's header
        self._left = 0  # bytes of a record that have not come yet

    def handshake(self) -> bool:
        """Go on with the handshake; True when it is done, False when more bytes are needed."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive(self, data: bytes) -> bytes:
        """The plain bytes that `data` completes; none while the handshake lasts."""
        self._incoming.write(data)
        self._follow(data)
        return b"" if self._object.version() is None else self.plain()

    @property
    def is_whole(self) -> bool:
        """Whether what has come ended with a record: only then did the last plain bytes come with the last of it."""
        return not self._left and not self._header

    def _follow(self, data: bytes) -> None:
        """Keep track of where records end (RFC 8446, 5.1)."""
        position, size = min(self._left, len(data)), len(data)
        self._left -= position
        while position < size:
            missing = _HEADER_BYTES - len(self._header)
            self._header += data[position : position + missing]
            position += missing
            if len(self._header) < _HEADER_BYTES:
                return
            length = int.from_bytes(self._header[3:], "big")
            self._header = b""
            self._left = length - min(length, max(size - position, 0))
            position += length

    def plain(self) -> bytes:
        """The plain bytes that have come and were not taken yet."""
        parts = []
        while True:
            try:
                part = self._object.read(_CHUNK_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self.ended = True
                break
            if not part:
                self.ended = True
                break
            parts.append(part)
        return b"".join(parts)

    def send(self, data: bytes) -> None:
        """Encrypt `data`; `outgoing` then has it."""
        self._object.write(data)

    def outgoing(self) -> bytes:
        """What must go to the network now."""
        return self._outgoing.read()

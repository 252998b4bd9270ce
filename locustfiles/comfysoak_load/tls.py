"""TLS over bytes: a raw socket below and messages above, so that the kernel's receive stamps are not lost."""

from __future__ import annotations

import ssl

_CHUNK_BYTES = 256 * 1024


class TlsBytes:
    """One TLS connection between two buffers.

    Give it what the network brought (`receive`), take from it what the network must get (`outgoing`). `ssl.SSLError`
    is raised for a certificate that does not hold and for anything that is not TLS.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "ended")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ended = False  # the server said that nothing more will come

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
        return b"" if self._object.version() is None else self.plain()

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

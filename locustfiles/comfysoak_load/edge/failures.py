"""What can go wrong between us and a server, as values: nothing the network does is an exception to the users."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum

MAX_DETAIL = 200


class FailureKind(StrEnum):
    """A bounded set: these words are also what Locust's statistics count, and those must not grow."""

    REFUSED = "connection refused"
    UNRESOLVED = "host name not found"
    UNREACHABLE = "host not reachable"
    RESET = "connection broken"
    TIMEOUT = "no answer in time"
    TLS = "TLS failed"
    STATUS = "unexpected HTTP status"
    BAD_ANSWER = "answer not understood"
    TOO_BIG = "answer too big"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. `detail` is for people, and bounded; `sent` tells whether a request left in full."""

    kind: FailureKind
    detail: str = ""
    status: int | None = None
    sent: bool = False

    @property
    def never_arrived(self) -> bool:
        """Whether the server cannot have acted upon it: there was no connection, or nothing had left yet."""
        return self.kind in _NO_CONNECTION and not self.sent

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else str(self.kind)


_NO_CONNECTION = frozenset({FailureKind.REFUSED, FailureKind.UNRESOLVED, FailureKind.UNREACHABLE, FailureKind.TLS})


def failure_of(error: Exception, *, sent: bool = False) -> Failure:
    """The failure an exception of a socket stands for."""
    detail = str(error)[:MAX_DETAIL]
    kind = FailureKind.RESET
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        kind = FailureKind.RESET  # a connection that had been there, and ended
    elif isinstance(error, ssl.SSLError):
        kind = FailureKind.TLS
    elif isinstance(error, ConnectionRefusedError):
        kind = FailureKind.REFUSED
    elif isinstance(error, socket.gaierror):
        kind = FailureKind.UNRESOLVED
    elif isinstance(error, TimeoutError):
        kind = FailureKind.TIMEOUT
    elif isinstance(error, OSError) and not isinstance(error, ConnectionError):
        kind = FailureKind.UNREACHABLE
    return Failure(kind, detail, sent=sent)

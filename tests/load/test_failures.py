"""What went wrong between us and a server, and whether the server can have acted upon it."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from comfysoak_load.edge.failures import FailureKind, failure_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), FailureKind.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), FailureKind.RESET),
        (socket.gaierror(-2, "unknown"), FailureKind.UNRESOLVED),
        (TimeoutError("late"), FailureKind.TIMEOUT),
        (OSError(errno.EHOSTUNREACH, "no route"), FailureKind.UNREACHABLE),
        (ssl.SSLCertVerificationError("self-signed"), FailureKind.TLS),
        (ssl.SSLEOFError("ended"), FailureKind.RESET),
        (ssl.SSLZeroReturnError("ended"), FailureKind.RESET),
    ],
)
def test_exceptions_of_the_network_are_values(error: Exception, kind: FailureKind) -> None:
    """Each stands for one kind, and a connection that ends within TLS is one that broke."""
    assert failure_of(error).kind is kind


def test_what_has_left_may_have_arrived() -> None:
    """A prompt is known not to be on the server only where no connection came about before it was sent."""
    unreachable = OSError(errno.EHOSTUNREACH, "no route")
    assert failure_of(unreachable).never_arrived
    assert not failure_of(unreachable, sent=True).never_arrived
    assert not failure_of(ConnectionResetError(errno.ECONNRESET, "reset")).never_arrived

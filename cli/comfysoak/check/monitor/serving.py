"""`--metrics HOST:PORT`: /metrics for Prometheus, /healthz and /readyz for orchestrators."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from comfysoak_core.errors import UsageError
from comfysoak_core.recording.redaction import redact
from comfysoak_core.terminal import printable
from comfysoak_probes.remote.listening import ListenAddress, open_listener
from comfysoak_probes.remote.prometheus_text import CONTENT_TYPE
from comfysoak_probes.remote.service import Reply, Request

OPTION: Final = "--metrics"
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  # what `:9109` means, as with all exporters
_LONGEST: Final = 1_000
_ROUTES: Final = (
    "GET /metrics   all metrics, for Prometheus\n"
    "GET /healthz   200 while the monitor lives\n"
    "GET /readyz    200 while the target can serve; else 503 with the reason\n"
)


def listener_on(text: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`, `:PORT` (everywhere), `[::1]:PORT` or `PORT` (this machine alone)."""
    try:
        address = ListenAddress.of(f"{_EVERYWHERE}{text}" if text.startswith(":") else text)
    except ValueError:
        raise UsageError(
            f"{OPTION}: expected HOST:PORT, got {printable(text[:100])!r}",
            "Such as 127.0.0.1:9109, [::1]:9109, or :9109 for all addresses of this machine.",
        ) from None
    try:
        return open_listener(address)
    except UsageError as error:
        remedy = "Choose another port, or an address of this machine. Perhaps another monitor listens there already."
        raise UsageError(f"{OPTION}: {error.problems[0].what}", remedy) from None


@dataclass(frozen=True, slots=True)
class Answers:
    """What is answered; each is asked of the monitor anew, and waits for nothing."""

    metrics: Callable[[], bytes]
    ailing: Callable[[], str]  # why the monitor itself is not well; empty: it is
    not_ready: Callable[[], str]

    def __call__(self, request: Request) -> Reply:
        """The reply to a request; in the thread of the service."""
        match request.path:
            case "/metrics":
                return Reply(200, self.metrics(), CONTENT_TYPE)
            case "/healthz":
                return _said(self.ailing())
            case "/readyz":
                return _said(self.not_ready())
            case "/":
                return Reply(200, _ROUTES.encode())
            case _:
                return Reply(404, f"there are\n{_ROUTES}".encode())


def _said(why: str) -> Reply:
    if not why:
        return Reply(200, b"ok\n")
    return Reply(503, f"{printable(redact(why))[:_LONGEST]}\n".encode("utf-8", "replace"))

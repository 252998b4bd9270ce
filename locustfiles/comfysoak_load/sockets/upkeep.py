"""What the sockets of a process share, and what is journalled of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from comfysoak_core.clock import AnchoredClock
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.messages import BadMessage
from comfysoak_core.recording.journal import Journal
from comfysoak_core.rows import Event, Session
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.opener import Opener
from comfysoak_load.edge.socket_edge import Closing, WebSocket
from comfysoak_load.sockets.keepalive import Keepalive


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What the sockets of a process share."""

    worker: str
    clock: AnchoredClock
    journal: Journal
    keepalive: Keepalive
    opener: Opener

    def end(self, row: Session, closing: Closing, socket: WebSocket | None, reopened_as: str | None) -> None:
        """Journal how a socket ended; `socket` is None for one that never opened."""
        self.journal.add(
            replace(
                row,
                closed_ns=self.clock.now_ns(),
                close_code=closing.close_code,
                closed_by=closing.closed_by,
                reason=closing.reason or None,
                code=closing.code,
                messages=socket.messages if socket is not None else 0,
                message_bytes=socket.message_bytes if socket is not None else 0,
                longest_silence_ns=socket.longest_silence_ns if socket is not None else None,
                reopened_as=reopened_as,
            )
        )

    def tell_bad(self, message: BadMessage, server: str, session_id: str | None) -> None:
        """Journal a message that no ComfyUI sends."""
        self.tell("bad_message", server, session_id, Code.BAD_MESSAGE, f"{message.reason}: {message.excerpt}")

    def tell(
        self, kind: str, server: str, subject: str | None, code: Code | None, detail: str, at_ns: int | None = None
    ) -> None:
        """Journal an event of a socket, or of all of a server; `at_ns`: not of now, but of then."""
        at_ns = self.clock.now_ns() if at_ns is None else at_ns
        self.journal.add(
            Event(at_ns=at_ns, source=self.worker, kind=kind, server=server, subject=subject, code=code, detail=detail)
        )


_REFUSED: Mapping[FailureKind, Code] = {
    FailureKind.REFUSED: Code.SERVER_DOWN,
    FailureKind.UNREACHABLE: Code.SERVER_DOWN,
    FailureKind.UNRESOLVED: Code.SERVER_DOWN,
    FailureKind.TLS: Code.WS_ABNORMAL,
    FailureKind.RESET: Code.WS_ABNORMAL,
    FailureKind.TIMEOUT: Code.WS_ABNORMAL,
    FailureKind.STATUS: Code.BAD_MESSAGE,
    FailureKind.BAD_ANSWER: Code.BAD_MESSAGE,
    FailureKind.TOO_BIG: Code.BAD_MESSAGE,
}


def refusal(failure: Failure) -> Closing:
    """A socket that never opened."""
    return Closing(None, "refused", str(failure), _REFUSED.get(failure.kind))

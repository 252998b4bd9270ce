"""One server, as all users of this process see it together."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import gevent.lock
import gevent.ssl

from comfysoak_core.clock import Clock
from comfysoak_core.comfyui.answers import Damaged, Queue, parse_queue
from comfysoak_core.comfyui.history import HistoryEntry, NoEntry, OutputFile, parse_history
from comfysoak_core.comfyui.messages import Status, parse_text
from comfysoak_load.failures import Failure, FailureKind
from comfysoak_load.http_answers import Answer
from comfysoak_load.http_edge import HttpEdge

POLL_DEADLINE_S = 20.0
SUBMIT_DEADLINE_S = 60.0
FETCH_DEADLINE_S = 60.0
MAX_ENTRY_BYTES = 32 * 1024 * 1024
MAX_OUTPUT_BYTES = 256 * 1024 * 1024

_STATUSES_KEPT = 256
_STATUS_WITHIN = 24  # bytes from the start in which a `status` message names its type


class Target:
    """A server's HTTP side and what it last told about its queue. `url` is its base URL, without a slash at the end."""

    def __init__(self, url: str, clock: Clock, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self.headers = dict(headers or {})
        self.tls: ssl.SSLContext | None = gevent.ssl.create_default_context() if parts.scheme == "https" else None
        self.http = HttpEdge(url, headers=self.headers, tls_context=self.tls)
        self.queue_remaining: int | None = None
        self._clock = clock
        self._ws_base = urlunsplit(
            ("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + "/ws", "", "")
        )
        self._statuses: dict[bytes, Status] = {}
        self._queue_lock = gevent.lock.Semaphore()
        self._queue: tuple[int, Queue | Damaged] | None = None  # when it was asked for, and the answer
        self._highest_number = -1.0
        self._highest_before_drop = -1.0
        self._dropped_ns = 0

    def socket_url(self, client_id: str) -> str:
        """Where the socket of a client opens."""
        return f"{self._ws_base}?clientId={quote(client_id, safe='')}"

    def status_of(self, payload: bytes) -> Status | None:
        """The `status` message in a text frame that every socket of this server is sent; None for all others.

        It goes to all sockets, three times a prompt: so each text is read once, and not once a socket.
        """
        known = self._statuses.get(payload)
        if known is not None:
            self.queue_remaining = known.queue_remaining
            return known
        if b'"status"' not in payload[:_STATUS_WITHIN]:
            return None
        message = parse_text(payload)
        if type(message) is not Status:
            return None
        self.queue_remaining = message.queue_remaining
        if message.sid is None:
            if len(self._statuses) >= _STATUSES_KEPT:
                self._statuses.clear()
            self._statuses[payload] = message
        return message

    def submit(self, body: bytes) -> Answer | Failure:
        """POST /prompt."""
        return self.http.post("/prompt", body, deadline_s=SUBMIT_DEADLINE_S)

    def history(self, prompt_id: str) -> HistoryEntry | NoEntry | Damaged | Failure:
        """GET /history/{id}; a Failure when the server refuses connections, Damaged when it gave no answer."""
        answer = self.http.get(
            f"/history/{quote(prompt_id, safe='')}", deadline_s=POLL_DEADLINE_S, max_bytes=MAX_ENTRY_BYTES
        )
        if isinstance(answer, Failure):
            return _unanswered(answer)
        return parse_history(prompt_id, answer.status, answer.body)

    def queue(self, since_ns: int) -> Queue | Damaged | Failure:
        """GET /queue, or the answer another user got to it after `since_ns`."""
        with self._queue_lock:
            if self._queue is not None and self._queue[0] >= since_ns:
                return self._queue[1]
            asked_ns = self._clock.now_ns()
            answer = self.http.get("/queue", deadline_s=POLL_DEADLINE_S, max_bytes=MAX_ENTRY_BYTES * 4)
            if isinstance(answer, Failure):
                return _unanswered(answer)
            queue = parse_queue(answer.status, answer.body)
            self._queue = (asked_ns, queue)
            return queue

    def view(self, file: OutputFile) -> Answer | Failure:
        """GET /view of an output."""
        query = f"filename={quote(file.filename, safe='')}&type={quote(file.type, safe='')}"
        if file.subfolder:
            query += f"&subfolder={quote(file.subfolder, safe='')}"
        return self.http.get(f"/view?{query}", deadline_s=FETCH_DEADLINE_S, max_bytes=MAX_OUTPUT_BYTES)

    def socket_dropped(self, at_ns: int) -> None:
        """A socket broke without a close frame: the server may have been restarted."""
        self._dropped_ns = at_ns
        self._highest_before_drop = max(self._highest_before_drop, self._highest_number)

    def accepted(self, number: float | None, sent_ns: int) -> bool:
        """A prompt was given `number`. True when that shows that the server was restarted meanwhile.

        Numbers only grow, from zero at the server's start, so a prompt sent after a drop has a higher one than any
        before it; unless the server is another one.
        """
        if number is None or number < 0 or sent_ns < self._dropped_ns:
            return False
        restarted = number <= self._highest_before_drop
        if restarted:
            self._highest_number = self._highest_before_drop = -1.0
        self._highest_number = max(self._highest_number, number)
        return restarted

    def close(self) -> None:
        """Close idle connections."""
        self.http.close()


def _unanswered(failure: Failure) -> Damaged | Failure:
    return failure if failure.kind is FailureKind.REFUSED else Damaged(failure.status or 0, str(failure), "")

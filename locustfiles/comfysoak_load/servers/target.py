"""One server, as all users of this process see it together."""

from __future__ import annotations

import random
import ssl
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import gevent.lock
import gevent.ssl

from comfysoak_core.clock import Clock
from comfysoak_core.comfyui.address import Address, Fall
from comfysoak_core.comfyui.answers import (
    Damaged,
    Queue,
    SystemStats,
    parse_queue,
    parse_queue_remaining,
    parse_system_stats,
)
from comfysoak_core.comfyui.history import HistoryEntry, NoEntry, OutputFile, parse_history
from comfysoak_core.comfyui.messages import Status, parse_text
from comfysoak_core.comfyui.server_clock import ServerClock
from comfysoak_core.scenario.routing import Health, Standing
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.edge.http_answers import Answer
from comfysoak_load.edge.http_edge import HttpEdge

POLL_DEADLINE_S = 20.0
LOOK_DEADLINE_S = 5.0
ASKED_OF_SEVERAL = 4  # times, at random one less: asked as often as there are servers, each question might always
# reach the same one
SUBMIT_DEADLINE_S = 60.0
FETCH_DEADLINE_S = 60.0
NOT_FOUND = 404
MAX_ENTRY_BYTES = 32 * 1024 * 1024
MAX_OUTPUT_BYTES = 256 * 1024 * 1024

_STATUSES_KEPT = 256
_STATUS_WITHIN = 24  # bytes from the start in which a `status` message names its type


class Target:
    """A server's HTTP side, and all that is known of it. `url` is its base URL, without a slash at the end."""

    def __init__(self, url: str, clock: Clock, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self.headers = dict(headers or {})
        self.tls: ssl.SSLContext | None = gevent.ssl.create_default_context() if parts.scheme == "https" else None
        self.http = HttpEdge(url, headers=self.headers, tls_context=self.tls)
        self.address = Address()
        self.standing = Standing()
        self.server_clock = ServerClock()
        self.last_ended: str | None = None  # a prompt that its history had
        self.news_ns = 0  # then or later something happened that it tells every socket
        self._clock = clock
        self._ws_base = urlunsplit(
            ("wss" if parts.scheme == "https" else "ws", parts.netloc, parts.path.rstrip("/") + "/ws", "", "")
        )
        self._statuses: dict[bytes, Status] = {}
        self._last_status = b""  # the same text comes on every socket
        self._queue_lock = gevent.lock.Semaphore()
        self._queue: tuple[int, Queue | Damaged] | None = None  # when it was asked for, and the answer

    def socket_url(self, client_id: str) -> str:
        """Where the socket of a client opens."""
        return f"{self._ws_base}?clientId={quote(client_id, safe='')}"

    def status_of(self, payload: bytes) -> Status | None:
        """The `status` message in a text frame that every socket of this server is sent; None for all others.

        It goes to all sockets, three times a prompt: so each text is read once, and not once a socket.
        """
        known = self._statuses.get(payload)
        if known is not None:
            if payload != self._last_status:
                self._last_status = payload
                self.standing.told(known.queue_remaining, self._clock.now_ns())
            return known
        if b'"status"' not in payload[:_STATUS_WITHIN]:
            return None
        message = parse_text(payload)
        if type(message) is not Status:
            return None
        self._last_status = payload
        self.standing.told(message.queue_remaining, self._clock.now_ns())
        if message.sid is None:
            if len(self._statuses) >= _STATUSES_KEPT:
                self._statuses.clear()
            self._statuses[payload] = message
        return message

    def must_tell(self, at_ns: int) -> None:
        """At `at_ns` or later something has happened that the server tells every socket."""
        self.news_ns = max(self.news_ns, at_ns)

    def submit(self, body: bytes) -> Answer | Failure:
        """POST /prompt."""
        sent_ns = self._clock.now_ns()
        self.standing.sent()
        accepted = False
        try:
            answer = self._heeded(self.http.post("/prompt", body, deadline_s=SUBMIT_DEADLINE_S))
            accepted = isinstance(answer, Answer) and answer.status == 200
            return answer
        finally:
            self.standing.taken(sent_ns, accepted=accepted)

    def history(self, prompt_id: str) -> HistoryEntry | NoEntry | Damaged | Failure:
        """GET /history/{id}; a Failure when the server refuses connections, Damaged when it gave no answer.

        Where several servers answer at this address it is asked until one has the prompt, a few times.
        """
        for _ in range(self._times()):
            answer = self._history(prompt_id)
            if not isinstance(answer, NoEntry):
                break
        return answer

    def _history(self, prompt_id: str) -> HistoryEntry | NoEntry | Damaged | Failure:
        path = f"/history/{quote(prompt_id, safe='')}"
        answer = self._heeded(self.http.get(path, deadline_s=POLL_DEADLINE_S, max_bytes=MAX_ENTRY_BYTES))
        if isinstance(answer, Failure):
            return _unanswered(answer)
        entry = parse_history(prompt_id, answer.status, answer.body)
        if isinstance(entry, HistoryEntry):
            self.last_ended = prompt_id
        return entry

    def _times(self) -> int:
        return random.randint(ASKED_OF_SEVERAL - 1, ASKED_OF_SEVERAL) if self.address.several else 1

    def queue(self, since_ns: int) -> Queue | Damaged | Failure:
        """GET /queue, or the answer another user got to it after `since_ns`."""
        with self._queue_lock:
            if self._queue is not None and self._queue[0] >= since_ns:
                return self._queue[1]
            asked_ns = self._clock.now_ns()
            answer = self._heeded(self.http.get("/queue", deadline_s=POLL_DEADLINE_S, max_bytes=MAX_ENTRY_BYTES * 4))
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
        for asked in range(ASKED_OF_SEVERAL):  # of several servers one has the file
            answer = self.http.get(f"/view?{query}", deadline_s=FETCH_DEADLINE_S, max_bytes=MAX_OUTPUT_BYTES)
            if isinstance(answer, Failure) or answer.status != NOT_FOUND:
                self.address.several = self.address.several or asked > 0
                break
        return self._heeded(answer)

    def ask_remaining(self) -> int | None:
        """GET /prompt: how long its queue is; None when it does not say."""
        answer = self.http.get("/prompt", deadline_s=LOOK_DEADLINE_S)
        if isinstance(answer, Failure):
            return None
        remaining = parse_queue_remaining(answer.status, answer.body)
        return None if isinstance(remaining, Damaged) else remaining

    def system_stats(self, deadline_s: float) -> SystemStats | Damaged | Failure:
        """GET /system_stats. What comes of it says nothing of its health: it may be starting."""
        answer = self.http.get("/system_stats", deadline_s=deadline_s)
        return answer if isinstance(answer, Failure) else parse_system_stats(answer.status, answer.body)

    def look(self) -> None:
        """GET /prompt: whether it is there, and how long its queue is."""
        asked_ns = self._clock.now_ns()
        answer = self._heeded(self.http.get("/prompt", deadline_s=LOOK_DEADLINE_S))
        if isinstance(answer, Failure):
            return
        remaining = parse_queue_remaining(answer.status, answer.body)
        if isinstance(remaining, Damaged):
            self.standing.failed(Health.SILENT, f"GET /prompt: {answer.status} {remaining.reason}", asked_ns)
        else:
            self.standing.told(remaining, asked_ns)

    def socket_dropped(self, at_ns: int) -> None:
        """A socket broke without a close frame: the server may have been restarted, or be gone."""
        self.address.dropped(at_ns)
        self.standing.due_ns = at_ns

    def starts_anew(self) -> None:
        """It is about to be restarted, as the test wants it: what its queue numbers have shown holds no more."""
        self.address = Address()
        self.last_ended = None

    def failed(self, failure: Failure) -> None:
        """A connection could not be made, or had no answer."""
        at_ns = self._clock.now_ns()
        health = _HEALTH.get(failure.kind)
        if health is Health.DOWN:
            self.address.dropped(at_ns)
        if health is not None:
            self.standing.failed(health, str(failure), at_ns)
        elif failure.kind is FailureKind.RESET:
            self.standing.due_ns = at_ns

    def numbered(self, number: float | None, sent_ns: int) -> Fall:
        """A prompt sent at `sent_ns` was given `number` just now: what that shows."""
        return self.address.numbered(number, sent_ns, self._clock.now_ns())

    def doubt(self, prompt_id: str) -> None:
        """Something is odd about a prompt that history has: see whether all answers from here come from one server."""
        for _ in range(0 if self.address.several else ASKED_OF_SEVERAL):
            if isinstance(self._history(prompt_id), NoEntry):
                self.address.several = True

    def remembers(self, prompt_id: str) -> bool:
        """Whether history still has a prompt it had before, at whichever of the servers behind this address."""
        return any(isinstance(self._history(prompt_id), HistoryEntry) for _ in range(ASKED_OF_SEVERAL))

    def _heeded(self, answer: Answer | Failure) -> Answer | Failure:
        if isinstance(answer, Failure):
            self.failed(answer)
        else:
            self.standing.answered(self._clock.now_ns())
        return answer

    def close(self) -> None:
        """Close idle connections."""
        self.http.close()


def _unanswered(failure: Failure) -> Damaged | Failure:
    return failure if failure.kind is FailureKind.REFUSED else Damaged(failure.status or 0, str(failure), "")


_HEALTH: Mapping[FailureKind, Health] = {
    FailureKind.REFUSED: Health.DOWN,
    FailureKind.UNREACHABLE: Health.DOWN,
    FailureKind.UNRESOLVED: Health.DOWN,
    FailureKind.TLS: Health.SILENT,
    FailureKind.TIMEOUT: Health.SILENT,
    FailureKind.BAD_ANSWER: Health.SILENT,
}

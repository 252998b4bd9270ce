"""Plain HTTP/1.1 to one server on one kept connection, and clear words for all that can go wrong with it."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from comfysoak_core.comfyui.json_text import MAX_BYTES, excerpt
from comfysoak_core.errors import TargetError

_READ_BYTES: Final = 256 * 1024
_WHOLE_ANSWER: Final = 6  # times the timeout, for an answer that comes in drips


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole; `content_type` in lower case."""

    status: int
    content_type: str
    body: bytes

    def __str__(self) -> str:
        """In a few words, for an error message."""
        if "html" in self.content_type or self.body[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
            return f"{self.status} with a web page"
        return f"{self.status} {excerpt(self.body, 80)!r}" if self.body else f"{self.status} without content"


class Transport:
    """Requests to `base_url`; user name and password in it are sent, and stand in no message."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = _checked(base_url)
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._headers = {"Accept-Encoding": "identity", **_credentials(self._parts), **(headers or {})}
        self._connection: http.client.HTTPConnection | None = None
        host = self._parts.hostname or ""
        port = f":{self._parts.port}" if self._parts.port else ""
        self.base_url = f"{self._parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{self._parts.path}"

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """End the request that another thread waits for: it raises TargetError there."""
        waiting = self._connection.sock if self._connection is not None else None
        if waiting is not None:
            with suppress(OSError):  # it may have ended by itself meanwhile
                waiting.shutdown(socket.SHUT_RDWR)

    def request(self, method: str, path: str, body: bytes | None = None, *, max_bytes: int = MAX_BYTES) -> Answer:
        """One request, and its whole answer, whatever its status.

        A kept connection that the server has closed meanwhile is opened again, once, for requests that change nothing.
        """
        fresh = self._connection is None
        try:
            return self._exchange(method, path, body, max_bytes)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if fresh or method != "GET":
                raise self._failed(error) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise self._failed(error) from error
        return self.request(method, path, body, max_bytes=max_bytes)

    def _exchange(self, method: str, path: str, body: bytes | None, max_bytes: int) -> Answer:
        connection = self._connection = self._connection or self._opened()
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout_s)
        connection.request(method, self._parts.path + path, body, headers)
        latest_s = self._monotonic() + _WHOLE_ANSWER * self._timeout_s

        def response_of(sock: socket.socket, *options: Any, **named: Any) -> http.client.HTTPResponse:
            response = http.client.HTTPResponse(sock, *options, **named)
            response.fp = io.BufferedReader(_Hurried(sock, response.fp, self._timeout_s, latest_s, self._monotonic))
            return response

        connection.response_class = response_of  # type: ignore[assignment]  # called as the class would be
        response = connection.getresponse()
        content = self._content(response, path, max_bytes)
        if response.will_close:
            self.close()
        return Answer(response.status, (response.getheader("Content-Type") or "").lower(), content)

    def _content(self, response: http.client.HTTPResponse, path: str, max_bytes: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_READ_BYTES):
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                self.close()
                what = f"the answer of {self.base_url}{path.partition('?')[0]} is larger than {max_bytes} bytes"
                raise TargetError(what, "Is this address a ComfyUI?")
        if response.length:  # `read1` says nothing about an answer that was cut off
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # or the connection would refuse its next request: `read1` leaves a finished answer open
        return b"".join(parts)

    def _opened(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s)
        return http.client.HTTPConnection(host, port, timeout=self._timeout_s)

    def _failed(self, error: Exception) -> TargetError:
        """What kept a request from being answered, in words that say what to do."""
        place = self.base_url
        if isinstance(error, ConnectionRefusedError):
            return TargetError(f"{place} refuses connections", "Start the server, or check host and port.")
        if isinstance(error, socket.gaierror):
            return TargetError(f"the name {self._parts.hostname!r} of {place} is not known", "Check the host name.")
        if isinstance(error, TimeoutError):
            what = f"{place} did not answer within {self._timeout_s:g} s"
            return TargetError(what, "Is it reachable, and not stuck? A server that loads a model may take long.")
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"{place}: its certificate is not accepted ({error.verify_message})"
            remedy = "Give it a certificate for this name from an authority that is known here: SSL_CERT_FILE names it."
            return TargetError(what, remedy)
        if isinstance(error, ssl.SSLError):
            what = f"{place}: no TLS connection ({error.reason or error})"
            return TargetError(what, "Check whether the server speaks https, and its certificate.")
        if isinstance(error, http.client.BadStatusLine):
            what = f"{place} closed the connection or does not speak HTTP"
            return TargetError(what, "Check the port, and whether the server wants https.")
        return TargetError(
            f"{place} cannot be asked: {excerpt(str(error) or type(error).__name__)}", "Check the address."
        )


class _Hurried(io.RawIOBase):
    """What a socket brings until a moment: `http.client` limits the wait for each byte of a drip, not for all."""

    def __init__(
        self, sock: socket.socket, plain: Any, timeout_s: float, latest_s: float, monotonic: Callable[[], float]
    ) -> None:
        self._sock = sock
        self._raw = plain.detach()
        self._timeout_s = timeout_s
        self._latest_s = latest_s
        self._monotonic = monotonic

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As of the socket; TimeoutError when it is too late."""
        left_s = self._latest_s - self._monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(min(self._timeout_s, left_s))
        size: int | None = self._raw.readinto(buffer)
        return size

    def close(self) -> None:
        """And let go of the socket."""
        self._raw.close()
        super().close()


def _checked(base_url: str) -> SplitResult:
    """The parts of a base URL; TargetError when it is none."""
    remedy = "Write it like http://127.0.0.1:8188"
    try:
        parts = urlsplit(base_url.rstrip("/"))
        _ = parts.port  # reading it checks it
    except ValueError as error:
        raise TargetError(f"the target's address is not a URL: {error}", remedy) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TargetError("the target's address has to begin with http:// or https:// and name a host", remedy)
    return parts


def _credentials(parts: SplitResult) -> dict[str, str]:
    """The header for user name and password in a URL."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}

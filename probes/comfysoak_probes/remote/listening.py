"""`comfysoak probe --listen`: the ring and the metrics of this probe, served by HTTP to whoever may have them."""

from __future__ import annotations

import hmac
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs

import orjson

from comfysoak_core.clock import Clock
from comfysoak_core.errors import UsageError
from comfysoak_core.recording.journal import columns
from comfysoak_core.rows import TABLES, Row
from comfysoak_probes.remote.answers import FORMAT
from comfysoak_probes.remote.metrics import Metrics
from comfysoak_probes.remote.prometheus_text import CONTENT_TYPE
from comfysoak_probes.remote.ring import Excerpt, Ring
from comfysoak_probes.remote.service import Reply, Request, Service

ANSWER_BYTES = 256 * 1024
TOKEN_VARIABLE = "COMFYSOAK_PROBE_TOKEN"  # noqa: S105  # the name of a variable
PORT = 9410
LOOPBACK = "127.0.0.1"
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # to tell that somebody asked for it
_EXAMPLES = "9410, 127.0.0.1:9410, [::1]:9410 or 0.0.0.0:9410"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to listen, as it was written: a port alone is one of the loopback interface."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> ListenAddress:
        """The parts of `9410`, `gpu-1:9410` or `[::1]:9410`; ValueError for anything else."""
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host or (colon and not host):
            raise ValueError(f"expected an address such as {_EXAMPLES}, got {text!r}")
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"expected an address such as {_EXAMPLES}, got {text!r}")
        return cls(host or LOOPBACK, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def open_listener(address: ListenAddress) -> socket.socket:
    """A socket that listens there. Raises UsageError when it cannot."""
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(place, family=family)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"cannot listen on {address}: {_why(error)}",
            f"Choose another port, or an address of this machine: {_EXAMPLES}. Perhaps one listens there already.",
        ) from error


def _why(error: OSError | UnicodeError) -> str:
    """The system's own words; Python adds the address, which is told already."""
    if isinstance(error, UnicodeError | socket.gaierror) or not error.errno:
        return str(getattr(error, "strerror", None) or error)
    return os.strerror(error.errno)


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    host = str(listener.getsockname()[0])
    return host.startswith("127.") or host == "::1"


@dataclass(frozen=True, slots=True)
class ListenOn:
    """Where to listen, who may come in, and how long rows are kept for them. `variable` is named in what is said."""

    address: ListenAddress
    keep_s: float
    token: str | None = None
    variable: str = TOKEN_VARIABLE


@dataclass(slots=True)
class Listening:
    """A sink whose rows can be fetched. Raises UsageError when nobody can listen there, or anybody could come in."""

    on: ListenOn
    clock: Clock
    host: str
    version: str
    every_s: float
    ring: Ring = field(init=False)
    metrics: Metrics = field(init=False)
    listener: socket.socket = field(init=False)
    _service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.listener = open_listener(self.on.address)
        if self.on.token is None and not is_loopback(self.listener):
            self.listener.close()
            raise UsageError(
                f"{self.on.address} can be reached from other machines, and no token keeps strangers out",
                f"Set the environment variable {self.on.variable} to a secret, such as what `openssl rand -hex 16` "
                f"prints, or listen on 127.0.0.1 and reach it by an ssh tunnel.",
            )
        self.ring = Ring(self.clock, keep_s=self.on.keep_s)
        self.metrics = Metrics(self.clock, host=self.host, version=self.version, every_s=self.every_s)
        self._service = Service(self.listener, self.answer)

    def __enter__(self) -> Self:
        self._service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._service.close()

    @property
    def port(self) -> int:
        """The port it listens on, also where any free one was asked for."""
        return int(self.listener.getsockname()[1])

    def take(self, rows: Iterable[Row]) -> None:
        """Keep the rows for who asks; nobody who reads slowly is waited for."""
        kept = list(rows)
        self.ring.take(kept)
        self.metrics.take(kept)

    def close(self) -> None:
        """Nothing more will come; what there is can be fetched until the end."""

    def hints(self) -> list[str]:
        """What a person wants to know at the start: where it listens, and what to write into a scenario."""
        here = ListenAddress(self.on.address.host, self.port)
        loopback = is_loopback(self.listener)
        name = f"{self.host}:{self.port}" if self.on.address.host in _EVERYWHERE else str(here)
        token = f", token_variable: {self.on.variable}" if self.on.token is not None else ""
        hints = [
            f"listening on http://{here}, metrics for Prometheus on /metrics",
            f"in a scenario:  probes: {{gpu: [{{probe: http://{name}{token}}}]}}",
        ]
        if loopback:
            hints.append(f"from another machine, through a tunnel:  ssh -N -L {self.port}:{here} {self.host}")
        return hints

    def answer(self, request: Request) -> Reply:
        """The reply to a request; in the thread of the service."""
        refused = self._refused(request)
        if refused is not None:
            return refused
        match request.path:
            case "/rows":
                return self._rows(request)
            case "/clock":
                told = {"ring": self.ring.identity, "clock_ns": self.clock.now_ns()}
                return Reply(200, orjson.dumps(told) + b"\n", "application/json")
            case "/metrics":
                return Reply(200, self.metrics.text(), CONTENT_TYPE)
            case "/":
                return Reply(200, self._about().encode())
            case _:
                return Reply(404, b"there are /rows, /clock, /metrics, and / which explains them\n")

    def _refused(self, request: Request) -> Reply | None:
        if self.on.token is None:
            # A page in a browser of this machine may send its own name here, and must not read what is for us.
            if _is_address(request.headers.get("host", LOOPBACK)):
                return None
            return Reply(403, b"without a token this probe is asked by address, such as 127.0.0.1\n", trusted=False)
        said = request.headers.get("authorization", "").encode("latin-1")
        if hmac.compare_digest(said, b"Bearer " + self.on.token.encode()):
            return None
        why = b"expected the header `Authorization: Bearer TOKEN` with the token of this probe\n"
        return Reply(401, why, headers=("WWW-Authenticate: Bearer",), trusted=False)

    def _rows(self, request: Request) -> Reply:
        asked = parse_qs(request.query)
        name = "since_ns" if "since_ns" in asked else "after"
        text = asked.get(name, ["0"])[-1]
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            return Reply(400, f"expected a whole number in {name}=..., got {text[:40]!r}\n".encode("ascii", "replace"))
        find = self.ring.since if name == "since_ns" else self.ring.after
        return Reply(200, self._lines(find(int(text), ANSWER_BYTES)), "application/jsonl")

    def _lines(self, excerpt: Excerpt) -> bytes:
        """A head, then a line for each batch: table, number of its first row, rows."""
        tables = {batch.table: columns(TABLES[batch.table]) for batch in excerpt.batches}
        head = {
            "format": FORMAT, "ring": self.ring.identity, "host": self.host, "version": self.version,
            "clock_ns": self.clock.now_ns(), "first": excerpt.first, "next": excerpt.next, "columns": tables,
        }  # fmt: skip
        batches = [b'["%s",%d,%s]' % (batch.table.encode(), batch.first, batch.rows) for batch in excerpt.batches]
        return b"\n".join([orjson.dumps(head), *batches]) + b"\n"

    def _about(self) -> str:
        return (
            f"comfysoak probe {self.version} on {self.host}: samples of the last {self.ring.kept_s:.0f} s.\n\n"
            "GET /rows?after=NUMBER     JSON lines: a head, then batches of rows; NUMBER: of your last row\n"
            "GET /rows?since_ns=TIME    the same, from a moment of this probe's clock on\n"
            "GET /clock                 this probe's clock, to measure how far it is from yours\n"
            "GET /metrics               the latest values as Prometheus text\n"
        )


def _is_address(host: str) -> bool:
    """Whether a Host header holds an IP address or `localhost`, which no foreign web page can be called."""
    name = host.rpartition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or name.startswith("[") or name.replace(".", "").isdigit()


def token_in(variable: str) -> str | None:
    """The token in an environment variable. Raises UsageError when it is none that a header can carry."""
    token = os.environ.get(variable, "")
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise UsageError(
            f"{variable} holds characters that no token has: spaces, line breaks, or others beyond ASCII",
            "Look for a line break at its end.",
        )
    return token or None

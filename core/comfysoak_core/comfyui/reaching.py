"""The way to a ComfyUI, step by step: its name, its port, HTTP, WebSocket. Each step says what is wrong with it alone.

    place = place_of("http://gpu-1:8188")       # pure
    resolved(place) -> connected(place) -> identified(place) -> opened(place)

Each gives what it found, or a `Trouble` with the cause and what to do about it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import SystemStats, parse_system_stats
from comfysoak_core.comfyui.json_text import document_or_none, excerpt
from comfysoak_core.comfyui.transport import Answer, Transport
from comfysoak_core.errors import TargetError

TIMEOUT_S: Final = 10.0
_OK: Final = 200
_LOOPBACK: Final = re.compile(r"localhost|.*\.localhost|127(\.\d+){3}|::1")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and what to do. `code`: what the catalogue calls it, where it has a name for it."""

    seen: str
    remedy: str
    code: Code | None = None

    def error(self) -> TargetError:
        """As an error of a target."""
        return TargetError(self.seen, self.remedy)


@dataclass(frozen=True, slots=True)
class Place:
    """A well-formed address. `url` is without credentials and without a slash at its end."""

    url: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_loopback(self) -> bool:
        """Whether it means the machine, or the container, that asks."""
        return _LOOPBACK.fullmatch(self.host) is not None

    @property
    def is_number(self) -> bool:
        """Whether the host is an address and no name."""
        try:
            ip_address(self.host)
        except ValueError:
            return False
        return True


_NAMED_IN: Final = "COMFYUI_API_KEY for a check, target.token_variable in a scenario"
EXAMPLE: Final = "http://gpu-1:8188"


def place_of(url: str) -> Place | Trouble:
    """The place an address means; Trouble for one that no client can use. Credentials are for the caller to tell."""
    if url[:1] in ("'", '"') and url[-1:] == url[:1] and len(url) > 1:
        remedy = "Take the quotes away: `docker run --env-file` and Kubernetes pass them on as part of the value."
        return Trouble("its value has quotes around it", remedy)
    if url != url.strip() or not url.isprintable() or " " in url:
        bare = "".join(url.split())
        return Trouble("it holds spaces or line breaks", f"Write it without spaces and line breaks: {_shown(bare)}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        bracketed = _with_brackets(url)
        if bracketed:
            return Trouble("an address of IPv6 stands in brackets in a URL", f"Write {bracketed}")
        return Trouble(f"it is no address: {error}", f"Write it like {EXAMPLE}")
    if "://" not in url:
        return Trouble(
            "it has no scheme: clients take what stands before the colon for one", f"Write http://{_bare(url)}"
        )
    if parts.scheme not in ("http", "https"):
        other = parts.scheme.replace("ws", "http") if parts.scheme in ("ws", "wss") else "http"
        return Trouble(f"its scheme is {parts.scheme}, expected http or https", f"Write {other}://{_bare(url)}")
    if port == 0:
        return Trouble("its port is 0, where nothing can listen", f"Write it like {EXAMPLE}")
    if not parts.hostname:
        return Trouble("it names no host", f"Write it like {EXAMPLE}")
    if parts.query or parts.fragment:
        return Trouble("it has a part after ? or #, which routes would be added to", f"Write it like {EXAMPLE}")
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/")
    place = f"{parts.scheme}://{shown}{f':{port}' if port is not None else ''}{path}"
    return Place(place, parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path)


def _with_brackets(url: str) -> str:
    """The same with brackets around an address of IPv6 that has none; empty where that is not what is wrong.

    Of `::1:8188` the last group is taken for the port, as whoever wrote it meant.
    """
    scheme, sign, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].rpartition(":")
    try:
        address = ip_address(host)
    except ValueError:
        return ""
    return f"{scheme}{sign}[{address}]:{port}" if sign and address.version == 6 and port.isdecimal() else ""


def _shown(url: str) -> str:
    """What is printable of it, without credentials."""
    head, sign, _ = url.partition("://")
    return "".join(letter for letter in (f"{head}://{_bare(url)}" if sign else _bare(url)) if letter.isprintable())


def _bare(url: str) -> str:
    """What stands after the scheme, without credentials."""
    return url.rpartition("://")[2].rpartition("@")[2]


def resolved(place: Place) -> tuple[str, ...] | Trouble:
    """The addresses that the host's name stands for, in the order in which they are tried."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return _unknown_name(place, error)
    except (OSError, UnicodeError) as error:
        return Trouble(f"the name {place.host!r} cannot be looked up: {error}", "Check the host name.")
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _unknown_name(place: Place, error: socket.gaierror) -> Trouble:
    name = place.host
    seen = f"the name {name!r} of {place.url} is not known here"
    if error.errno == socket.EAI_AGAIN:
        return Trouble(f"{seen}: no name server answered", "Check /etc/resolv.conf and the network of this container.")
    if name == "host.docker.internal":
        remedy = 'On Linux add to the service in compose.yaml: extra_hosts: ["host.docker.internal:host-gateway"]'
        return Trouble(seen, remedy)
    if "." not in name:
        return Trouble(
            seen,
            f"If {name} is a service of Docker Compose, its name means something only in their common network: is it "
            f"up (docker compose ps {name}), and is whoever asks in its network? From the host publish its port (in "
            f'compose.yaml, ports: ["{place.port}:8188"]), and ask http://localhost:{place.port}.',
        )
    return Trouble(seen, f"Check its spelling, and your DNS: getent hosts {name}")


def connected(place: Place, timeout_s: float = TIMEOUT_S) -> float | Trouble:
    """Seconds that a TCP connection took."""
    began = time.monotonic()
    try:
        with socket.create_connection((place.host, place.port), timeout=timeout_s):
            return time.monotonic() - began
    except ConnectionRefusedError:
        return _refused(place)
    except TimeoutError:
        seen = f"{place.host}:{place.port} gives no answer at all within {timeout_s:g} s"
        return Trouble(seen, "A firewall drops the packets, or the machine is off: check both.", Code.SERVER_DOWN)
    except (OSError, UnicodeError) as error:
        seen = f"{place.host}:{place.port} cannot be reached: {getattr(error, 'strerror', None) or error}"
        return Trouble(seen, "Check the address, and the route to it.", Code.SERVER_DOWN)


def _refused(place: Place) -> Trouble:
    seen = f"{place.url} refuses connections: nothing listens on port {place.port} of {place.host}"
    if place.is_loopback:
        remedy = (
            "Start the server, or check host and port. In a container this is the container itself: name another as "
            f"http://SERVICE:{place.port} in a common network, the host as http://host.docker.internal:{place.port}."
        )
    else:
        remedy = (
            "Start the server, or check host and port. ComfyUI listens to others only with --listen 0.0.0.0; of a "
            f"container publish the port (docker compose port SERVICE {place.port})."
        )
    return Trouble(seen, remedy, Code.SERVER_DOWN)


def identified(place: Place, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> SystemStats | Trouble:
    """What the ComfyUI there says of itself."""
    transport = Transport(place.url, timeout_s=timeout_s, headers=headers)
    try:
        answer = transport.request("GET", "/system_stats")
        stats = parse_system_stats(answer.status, answer.body)
        if isinstance(stats, SystemStats) and (stats.comfyui_version or stats.devices):
            return stats
        return _not_comfyui(place, transport, answer, has_key=bool(headers))
    except TargetError as error:
        return _no_http(place, error)
    finally:
        transport.close()


def _no_http(place: Place, error: TargetError) -> Trouble:
    problem = error.problems[0]
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        remedy = f"{problem.remedy} Open WebUI reads the file that AIOHTTP_CLIENT_SSL_CERT_FILE names."
        return Trouble(problem.what, remedy)
    if isinstance(cause, TimeoutError):
        return Trouble(
            f"{problem.what}, though its port takes connections: it is frozen, or very busy",
            "Look into its log, and restart it if it hangs; a server that loads a model may take long to answer.",
        )
    if isinstance(cause, ssl.SSLError) and place.scheme == "https":
        seen = f"{place.url} does not speak TLS there ({cause.reason or cause})"
        return Trouble(seen, f"Write http:// in place of https://, or ask the port that speaks TLS: {_bare(place.url)}")
    return Trouble(problem.what, problem.remedy)


_OTHERS: Final = (
    # route, what its answer holds, who that is
    ("/api/version", b'"version"', "an Open WebUI, or an Ollama"),
    ("/sdapi/v1/options", b"sd_model_checkpoint", "an AUTOMATIC1111"),
)


def _not_comfyui(place: Place, transport: Transport, answer: Answer, *, has_key: bool) -> Trouble:
    seen = f"expected a ComfyUI at {place.url}; its /system_stats came as {answer!s}"
    if answer.status in (401, 403, 407):
        if has_key:
            remedy = f"Check the token ({_NAMED_IN}), and that what asks for it wants it as a bearer token."
            return Trouble(f"{seen}: it does not take the token that was sent", remedy)
        remedy = f"Name the environment variable that holds one: {_NAMED_IN}."
        return Trouble(f"{seen}: it wants a token, and none was sent", remedy)
    if 300 <= answer.status < 400:
        secure = "https" if place.scheme == "http" else "http"
        return Trouble(
            f"{seen}: it redirects", f"Write the address it redirects to, such as {secure}://{_bare(place.url)}"
        )
    if answer.status in (502, 503, 504):
        seen = f"{seen}: a proxy answers, and the ComfyUI behind it does not"
        return Trouble(seen, "Start that ComfyUI, or correct the proxy's upstream.", Code.SERVER_DOWN)
    if b"HTTP request was sent to HTTPS" in answer.body or b"HTTP request to an HTTPS" in answer.body:
        return Trouble(f"{seen}: this port wants TLS", f"Write https://{_bare(place.url)}")
    other = _who(transport)
    where = f"host, port and the path {place.path}" if place.path else "host and port"
    hint = f"Check {where}; ComfyUI answers GET /system_stats with JSON (default port 8188)."
    return Trouble(f"{seen}: this is {other}" if other else seen, hint)


def _who(transport: Transport) -> str:
    """Which other service answers there, where one can tell."""
    with contextlib.suppress(TargetError):
        for route, sign, name in _OTHERS:
            answer = transport.request("GET", route)
            if answer.status == _OK and sign in answer.body and isinstance(document_or_none(answer.body), dict):
                return name
    return ""


_UPGRADE: Final = (
    "Have the proxy pass the upgrade on; for nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";'
)


def opened(place: Place, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> float | Trouble:
    """Seconds until a WebSocket was open; it is closed again at once. Under a client id that nobody else has."""
    from websockets.exceptions import InvalidStatus, WebSocketException
    from websockets.sync.client import connect

    address = f"{place.url.replace('http', 'ws', 1)}/ws?clientId={uuid.uuid4().hex}"
    began = time.monotonic()
    try:
        with connect(
            address,
            additional_headers=dict(headers),
            open_timeout=timeout_s,
            close_timeout=1,
            proxy=None,
            max_size=None,
            ssl=None if place.scheme == "http" else ssl.create_default_context(),
        ):
            return time.monotonic() - began
    except InvalidStatus as error:
        return _not_upgraded(place, error.response.status_code, bytes(error.response.body or b""))
    except TimeoutError:
        seen = f"{place.url}/ws gave no answer within {timeout_s:g} s, though HTTP does"
        return Trouble(seen, f"Is there a proxy in between that waits? {_UPGRADE}")
    except (OSError, WebSocketException, ValueError) as error:
        seen = (
            f"{place.url}/ws cannot be opened, though HTTP answers: {excerpt(str(error) or type(error).__name__, 120)}"
        )
        return Trouble(seen, f"Look for a proxy in between. {_UPGRADE}")


def _not_upgraded(place: Place, status: int, body: bytes) -> Trouble:
    """HTTP answers there, and a WebSocket is refused."""
    seen = f"{place.url}/ws answered {status} in place of 101"
    if status == 401:
        return Trouble(
            f"{seen}: it wants a token", f"Have the proxy take the token for /ws as for the rest ({_NAMED_IN})."
        )
    if status == 403:
        return Trouble(
            f"{seen}: it is forbidden",
            "Look for a proxy that adds or rewrites the headers Origin and Host: ComfyUI refuses an Origin that is not "
            "its Host. Or start ComfyUI with --enable-cors-header.",
        )
    if status in (404, 405):
        return Trouble(f"{seen}: the route is not passed on", f"Have the proxy pass on {place.path or ''}/ws, too.")
    if status in (502, 503, 504):
        return Trouble(f"{seen}: a proxy that cannot upgrade, or reaches nothing by it", _UPGRADE)
    if status in (200, 400, 426) or b"pgrade" in body:
        return Trouble(f"{seen}: the upgrade was lost on the way", _UPGRADE)
    return Trouble(seen, f"Look into the log of what answers there. {_UPGRADE}")


def reached(url: str, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S, *, by_socket: bool) -> SystemStats:
    """All steps in order: what the ComfyUI there says of itself, or a TargetError with the first thing in the way."""
    place = place_of(url)
    if isinstance(place, Trouble):
        raise TargetError(f"{url}: {place.seen}", place.remedy)
    for step in (resolved(place), connected(place, timeout_s)):
        if isinstance(step, Trouble):
            raise step.error()
    stats = identified(place, headers, timeout_s)
    if isinstance(stats, Trouble):
        raise stats.error()
    opening = opened(place, headers, timeout_s) if by_socket else 0.0
    if isinstance(opening, Trouble):
        raise opening.error()
    return stats

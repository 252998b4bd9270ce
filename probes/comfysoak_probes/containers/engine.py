"""What the container engine of this host says of a container: Docker's API, or Podman's likeness of it.

Asked over the engine's Unix socket, by GET only, within bounds of time and bytes. Of what it says only the fields
below are read: the environment of a container, which stands beside them, may hold secrets.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

from comfysoak_core.comfyui.json_text import bounded, document_or_none, text_or_none, whole_or_none
from comfysoak_probes.fetch import MIB, Address, Answer, Fetcher, FetchError, Trouble

TIMEOUT_S = 2.0
BYTES_MOST = 4 * MIB
TEXT_MOST = 200
EVENTS_MOST = 1000


@dataclass(frozen=True, slots=True)
class Inspected:
    """GET /containers/ID/json."""

    name: str | None
    image: str | None
    running: bool
    pid: int | None  # of its main process; None when it does not run
    exit_code: int | None
    oom_killed: bool
    restarts: int | None
    started: str | None  # changes with each start


@dataclass(frozen=True, slots=True)
class Death:
    """What the engine told of an end of a container when it came."""

    exit_code: int | None
    oom: bool


class EngineError(Exception):
    """The engine cannot be asked; the text says why."""


def socket_paths(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Where engines listen on this host: the one that is set first, then those of root, then those of this user."""
    set_one = environment.get("DOCKER_HOST", "")
    own = environment.get("XDG_RUNTIME_DIR", "")
    paths = [set_one.removeprefix("unix://")] if set_one.startswith("unix://") else []
    paths += ["/var/run/docker.sock", "/run/podman/podman.sock"]
    return paths + ([f"{own}/docker.sock", f"{own}/podman/podman.sock"] if own else [])


class ContainerEngine:
    """All engines of this host; not safe to use from two threads."""

    def __init__(self, paths: Sequence[str] | None = None) -> None:
        found = [path for path in (socket_paths() if paths is None else paths) if os.path.exists(path)]  # noqa: PTH110  # a path of another's making
        self._fetchers = [_fetcher(path) for path in dict.fromkeys(os.path.realpath(path) for path in found)]

    def inspect(self, container: str) -> Inspected | None:
        """The container; None when no engine knows it. Raises EngineError."""
        for document in self._each(f"/containers/{container}/json"):
            if isinstance(document, dict):
                return _inspected(document)
        return None

    def death(self, container: str, since_s: float, until_s: float) -> Death | None:
        """How it ended between two moments of the system clock, by the engine's events; None: no such event.

        A container that is started again at once no longer says how it ended; its events do. Raises EngineError.
        """
        names = quote(f'{{"container":["{container}"]}}', safe="")
        path = f"/events?since={since_s:.3f}&until={until_s:.3f}&filters={names}"
        deaths = [death for answer in self._answers(path) for death in _deaths(answer.body)]
        ends = [death.exit_code for death in deaths if not death.oom]
        return Death(ends[-1] if ends else None, any(death.oom for death in deaths)) if deaths else None

    def pid_behind(self, port: int, addresses: frozenset[str], *, published: bool) -> int | str:
        """The main process of the container that has one of these addresses, or publishes the port; or why not."""
        try:
            for document in self._each("/containers/json"):
                for listed in document if isinstance(document, list) else ():
                    if isinstance(listed, dict) and _leads_to(listed, port, addresses, published=published):
                        return self._pid_of(str(listed.get("Id", "")))
        except EngineError as error:
            return str(error)
        return f"none publishes port {port}" if published else "none has this address"

    def close(self) -> None:
        """Close the connections."""
        for fetcher in self._fetchers:
            fetcher.close()

    def _pid_of(self, container: str) -> int | str:
        told = self.inspect(quote(container, safe=""))
        return told.pid if told and told.pid else "it does not run"

    def _each(self, path: str) -> Iterator[object]:
        for answer in self._answers(path):
            if answer.status == 200:
                yield document_or_none(answer.body)

    def _answers(self, path: str) -> Iterator[Answer]:
        """The answers of all engines that can be asked; EngineError when there is none."""
        reason = None if self._fetchers else "no container engine has a socket here"
        answered = False
        for fetcher in self._fetchers:
            try:
                answer = fetcher.get(path)
            except FetchError as error:
                reason = f"the container engine cannot be asked: {error}"[:TEXT_MOST]
                continue
            answered = True
            yield answer
        if reason is not None and not answered:
            raise EngineError(reason)


def _fetcher(path: str) -> Fetcher:
    connected: Callable[[Address, float], socket.socket] = partial(_connected, path)
    return Fetcher("http://engine", timeout_s=TIMEOUT_S, bytes_most=BYTES_MOST, connected=connected)


def _connected(path: str, _address: Address, timeout_s: float) -> socket.socket:
    """A connection to the socket at `path`. Raises FetchError."""
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise FetchError(Trouble.UNREACHABLE, "this system has no Unix sockets")
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise FetchError(Trouble.UNREACHABLE, f"{path}: {error.strerror or error}") from error
    return connection


def _inspected(document: dict[str, Any]) -> Inspected:
    state, settings = _object(document.get("State")), _object(document.get("Config"))
    return Inspected(
        name=_text(document.get("Name"), strip="/"),
        image=_text(settings.get("Image")),
        running=state.get("Running") is True,
        pid=whole_or_none(state.get("Pid")) or None,
        exit_code=whole_or_none(state.get("ExitCode")),
        oom_killed=state.get("OOMKilled") is True,
        restarts=whole_or_none(document.get("RestartCount")),
        started=_text(state.get("StartedAt")),
    )


def _deaths(body: bytes) -> Iterator[Death]:
    """Lines of JSON; what is none is passed over."""
    for line in body.splitlines()[-EVENTS_MOST:]:
        event = _object(document_or_none(line))
        action = event.get("Action", event.get("status"))
        told = _object(_object(event.get("Actor")).get("Attributes"))
        if action == "oom":
            yield Death(None, oom=True)
        elif action in ("die", "died"):  # a set would hash what may be a list
            code = told.get("exitCode", told.get("containerExitCode"))
            yield Death(int(code) if isinstance(code, str) and code.isdecimal() and len(code) < 6 else None, oom=False)


def _leads_to(listed: dict[str, Any], port: int, addresses: frozenset[str], *, published: bool) -> bool:
    if published:
        ports = listed.get("Ports")
        return any(_object(one).get("PublicPort") == port for one in (ports if isinstance(ports, list) else ()))
    networks = _object(_object(listed.get("NetworkSettings")).get("Networks"))
    return any(_text(_object(one).get("IPAddress")) in addresses for one in networks.values())


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, strip: str = "") -> str | None:
    text = text_or_none(value)
    return bounded(text.strip(strip), TEXT_MOST) if text else None

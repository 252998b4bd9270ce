"""Where a server runs on this host: its process, and the container that process is in."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from comfysoak_probes.processes import listeners, local_port, own_addresses

PROC = Path("/proc")
ID_DIGITS = 12  # of a container's id, as its engine shows it
# Names of cgroups, innermost last: docker/ID, docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope,
# libpod-ID.scope/container, kubepods/.../podUID/ID
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.MULTILINE)
# Processes that hold a port on the host for a container: the server itself is another one.
FORWARDERS = ("docker-proxy", "rootlessport", "rootlesskit", "slirp4netns", "pasta", "passt", "conmon", "com.docker")


@dataclass(frozen=True, slots=True)
class Place:
    """A server's process on this host; `started_s` tells it from a later one with the same id."""

    pid: int
    started_s: float
    container: str | None  # its whole id; None: in no container, or in one that its cgroups do not name

    @property
    def lives(self) -> bool:
        """Whether this very process is still there."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started_s and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Why there is no such process; `elsewhere`: the server runs on another host, as far as its address tells."""

    reason: str
    elsewhere: bool = False


class Engine(Protocol):
    """The container engine of this host, as far as it is needed to find a server's process."""

    def pid_behind(self, port: int, addresses: frozenset[str], *, published: bool) -> int | str:
        """The main process of the container that has one of these addresses, or publishes the port; or why not."""


def container_of(cgroups: str) -> str | None:
    """The id of the innermost container in the text of a `/proc/PID/cgroup`."""
    found = [match[1] for match in _CONTAINER.finditer(cgroups)]
    return found[-1] if found else None


def cgroups_of(pid: int | str, proc: Path = PROC) -> str:
    """The text of `/proc/PID/cgroup`; "" where it cannot be read."""
    try:
        return (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Finder:
    """Finds the process of one server, by its port or by the container engine. Costs tens of milliseconds."""

    def __init__(
        self,
        server: str,
        engine: Engine | None = None,
        *,
        proc: Path = PROC,
        listening: Callable[[Iterable[int]], dict[int, int]] = listeners,
    ) -> None:
        self._server = server
        self._engine = engine
        self._proc = proc
        self._listening = listening

    def find(self) -> Place | Nowhere:
        """The process, or why there is none."""
        parts = urlsplit(self._server)
        port = local_port(self._server, own_addresses)
        if port is None:
            return self._elsewhere(parts.hostname, _port(self._server))
        pid = self._listening([port]).get(port)
        name = _name(pid)
        if pid is not None and name is not None and not name.startswith(FORWARDERS):
            return self._at(pid) or Nowhere("its process has just ended")
        behind = self._engine.pid_behind(port, frozenset(), published=True) if self._engine else "no container engine"
        if isinstance(behind, int):
            return self._inside(behind)
        if name is not None:
            return Nowhere(f"port {port} is passed on by {name}, and of containers: {behind}")
        return Nowhere(f"no process that may be seen listens on port {port}, and of containers: {behind}")

    def _elsewhere(self, host: str | None, port: int | None) -> Place | Nowhere:
        """A container of this host may have an address of its own."""
        other = Nowhere("the server runs on another host", elsewhere=True)
        if self._engine is None or host is None or port is None:
            return other
        with suppress(OSError):
            found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
            behind = self._engine.pid_behind(port, frozenset(found), published=False)
            if isinstance(behind, int):
                return self._inside(behind)
        return other

    def _inside(self, pid: int) -> Place | Nowhere:
        """The engine's word is checked: ids that it tells from another namespace may be those of others here."""
        place = self._at(pid)
        if place is None or place.container is None:
            return Nowhere("the container engine counts processes in another namespace (run us with `pid: host`)")
        return place

    def _at(self, pid: int) -> Place | None:
        try:
            return Place(pid, psutil.Process(pid).create_time(), container_of(cgroups_of(pid, self._proc)))
        except psutil.Error:
            return None


def _name(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        return psutil.Process(pid).name()[:60]
    except psutil.Error:
        return None


def _port(url: str) -> int | None:
    parts = urlsplit(url)
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None

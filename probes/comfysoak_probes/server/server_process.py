"""The process of a server on this host, and the container that process is in."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from comfysoak_probes.host.kernel import PROC
from comfysoak_probes.processes.listeners import Held, Place, holders, own_addresses, place_of

ID_DIGITS = 12  # of a container's id, as its engine shows it
# Names of cgroups, innermost last: docker/ID, docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope,
# libpod-ID.scope/container, kubepods/.../podUID/ID
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServerProcess:
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
    """Finds the process of one server, by what listens on its port, else by the container engine.

    A search costs up to tens of milliseconds.
    """

    def __init__(
        self,
        server: str,
        engine: Engine | None = None,
        *,
        proc: Path = PROC,
        listening: Callable[[Sequence[Place]], dict[Place, Held]] = holders,
    ) -> None:
        self._server = server
        self._engine = engine
        self._proc = proc
        self._listening = listening

    def find(self) -> ServerProcess | Nowhere:
        """The process, or why there is none."""
        try:
            place = place_of(self._server, own_addresses)
        except OSError as error:
            return Nowhere(f"its address is not known: {error}", elsewhere=True)
        if place is None:
            return self._in_a_container_of_its_own_address()
        held = self._listening([place])[place]
        if held.pids:
            return self._at(held.pids[0]) or Nowhere("its process has just ended")
        behind = self._behind(place.port, frozenset(), published=True)
        if isinstance(behind, ServerProcess):
            return behind
        seen = held.hidden or (f"process {held.proxy} passes on port {place.port}" if held.proxy else "")
        return Nowhere(f"{seen or f'nobody listens on port {place.port}'}; of containers: {behind.reason}")

    def _in_a_container_of_its_own_address(self) -> ServerProcess | Nowhere:
        """A container of this host has an address that is none of the host's."""
        try:
            parts = urlsplit(self._server)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            found = []
        behind = self._behind(0, frozenset(str(info[4][0]) for info in found), published=False)
        if isinstance(behind, ServerProcess):
            return behind
        return Nowhere("the server runs on another host", elsewhere=True)

    def _behind(self, port: int, addresses: frozenset[str], *, published: bool) -> ServerProcess | Nowhere:
        """The engine's word is checked: ids that it tells from another namespace may be those of others here."""
        if self._engine is None:
            return Nowhere("not asked")
        pid = self._engine.pid_behind(port, addresses, published=published)
        if isinstance(pid, str):
            return Nowhere(pid)
        process = self._at(pid)
        if process is None or process.container is None:
            return Nowhere("the engine counts processes in another namespace: run the probe with `pid: host`")
        return process

    def _at(self, pid: int) -> ServerProcess | None:
        try:
            return ServerProcess(pid, psutil.Process(pid).create_time(), container_of(cgroups_of(pid, self._proc)))
        except psutil.Error:
            return None

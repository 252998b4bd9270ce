"""The server's process, found by the port it listens on, and the processes of the harness itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Event, Process, Row
from comfysoak_probes.gpu_processes import ProcessNames
from comfysoak_probes.source import SAMPLER, Cadence, Tick

HANDLES = "num_handles" if psutil.WINDOWS else "num_fds"
SEARCH_EVERY_S = 5.0  # looking through all sockets of a host costs tens of milliseconds
FAMILY_EVERY_S = 10.0
HANDLES_EVERY_S = 10.0
HANDLES_MISSING = "handles: counted every 10 s"

# Words of a command line, and the role they show; the first that fits.
ROLES: tuple[tuple[str, str], ...] = (
    ("comfysoak_simulator", "simulator"),
    ("comfysoak_core.recording.recorder", "recorder"),
    ("comfysoak_probes", "sampler"),
    ("locust", "load"),
)


def role_of(command: Sequence[str]) -> str | None:
    """What a process does in a run, by its command line; None for one that is not ours."""
    words = [word.replace("\\", "/") for word in command[:12]]
    for mark, role in ROLES:
        if any(word == mark or word.endswith(f"/{mark}") or word.startswith(f"{mark}.") for word in words):
            return role
    return None


def local_port(url: str, own_addresses: Callable[[], Iterable[str]]) -> int | None:
    """The port of a server on this host; None when the URL leads to another host, or nowhere."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = {info[4][0] for info in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        return None
    own = set(own_addresses())
    return port if any(str(address).startswith("127.") or address in own for address in found) else None


def own_addresses() -> set[str]:
    """Every address of this host."""
    addresses = {"::1"}
    for interface in psutil.net_if_addrs().values():
        addresses |= {address.address.split("%")[0] for address in interface}
    return addresses


@dataclass(slots=True)
class Watched:
    """A process that is followed; `key` tells it from a later one with the same id."""

    process: psutil.Process
    role: str
    server: str | None
    name: str
    cpu_s: float | None = None
    cpu_at_ns: int = 0
    handles_due: Cadence | None = None

    @property
    def key(self) -> tuple[int, float]:
        """Process id and start time."""
        return self.process.pid, self.process.create_time()


class ProcessSource:
    """A row a reading for each process that is followed; searches are made rarely."""

    name = "processes"
    patience_s = 2.0

    def __init__(
        self,
        servers: Sequence[str],
        *,
        every_s: float,
        host: str,
        clock: Clock,
        names: ProcessNames,
        family: bool = True,
    ) -> None:
        self.every_s = every_s
        self._servers = tuple(servers)
        self._host = host
        self._clock = clock
        self._names = names
        self._family = family
        self._search_due = Cadence(SEARCH_EVERY_S)
        self._family_due = Cadence(FAMILY_EVERY_S)
        self._watched: dict[tuple[int, str, str | None], Watched] = {}
        self._known_starts: dict[str, tuple[int, float]] = {}
        self._ports: dict[int, str] | None = None

    def read(self, tick: Tick) -> list[Row]:
        """Rows of the processes that are there, events about servers' processes that came or went."""
        rows: list[Row] = []
        for key, watched in list(self._watched.items()):
            try:
                rows.append(self._row(watched, tick))
            except psutil.Error as error:
                del self._watched[key]
                rows += self._gone(watched, tick.began_ns, error)
        return rows + self._search(tick)

    def close(self) -> None:
        """Nothing to let go of."""

    def _search(self, tick: Tick) -> list[Row]:
        """Look for what is not followed yet; its first row comes with the next reading."""
        rows: list[Row] = []
        if self._family and self._family_due.due(tick.deadline_ns):
            for process, role in family():
                self._follow(process, role, None)
        if self._search_due.due(tick.deadline_ns):
            rows += self._search_servers(tick.began_ns)
        return rows

    def _search_servers(self, at_ns: int) -> list[Event]:
        wanted = self._wanted()
        seen = {watched.server for watched in self._watched.values() if watched.role == "server"}
        lost = {port: server for port, server in wanted.items() if server not in seen}
        if not lost:
            return []
        rows: list[Event] = []
        for port, pid in listeners(lost).items():
            rows += self._found(lost[port], pid, at_ns)
        self._names.servers = frozenset(w.process.pid for w in self._watched.values() if w.role == "server")
        return rows

    def _wanted(self) -> dict[int, str]:
        if self._ports is None:
            own = own_addresses()
            ports = ((local_port(server, lambda: own), server) for server in self._servers)
            self._ports = {port: server for port, server in ports if port is not None}
        return self._ports

    def _found(self, server: str, pid: int, at_ns: int) -> list[Event]:
        try:
            watched = self._follow(psutil.Process(pid), "server", server)
            key = watched.key
        except psutil.Error:
            return []
        before = self._known_starts.get(server)
        self._known_starts[server] = key
        if before == key:
            return []
        detail = f"process {pid}, {watched.name}" + ("" if before is None else f", in the place of process {before[0]}")
        return [self._event(at_ns, "server_process", server, detail)]

    def _gone(self, watched: Watched, at_ns: int, error: psutil.Error) -> list[Event]:
        self._search_due.due_ns = 0  # perhaps a new one is there already
        if watched.role != "server":
            return []
        detail = f"process {watched.process.pid} is no longer there ({type(error).__name__})"
        return [self._event(at_ns, "server_process_gone", watched.server, detail)]

    def _follow(self, process: psutil.Process, role: str, server: str | None) -> Watched:
        key = (process.pid, role, server)
        if key not in self._watched:
            self._watched[key] = Watched(
                process, role, server, process.name()[:100], handles_due=Cadence(HANDLES_EVERY_S)
            )
        return self._watched[key]

    def _row(self, watched: Watched, tick: Tick) -> Process:
        began_ns = self._clock.now_ns()
        process = watched.process
        with process.oneshot():
            if not process.is_running():
                raise psutil.NoSuchProcess(process.pid)
            times = process.cpu_times()
            rss, threads = process.memory_info().rss, process.num_threads()
        handles, missing = self._handles(watched, tick)
        ended_ns = self._clock.now_ns()
        cpu_s = times.user + times.system
        ratio = _cpu_ratio(watched, cpu_s, began_ns)
        return Process(
            at_ns=began_ns,
            read_cost_ns=ended_ns - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            pid=process.pid,
            role=watched.role,
            server=watched.server,
            name=watched.name,
            cpu_ratio=ratio,
            cpu_seconds=cpu_s,
            rss_bytes=rss,
            handles=handles,
            threads=threads,
            missing=missing,
        )

    def _handles(self, watched: Watched, tick: Tick) -> tuple[int | None, str | None]:
        if watched.handles_due is None or not watched.handles_due.due(tick.deadline_ns):
            return None, HANDLES_MISSING
        try:
            return int(getattr(watched.process, HANDLES)()), None
        except (psutil.AccessDenied, AttributeError) as error:
            return None, f"handles: {type(error).__name__}"

    def _event(self, at_ns: int, kind: str, server: str | None, detail: str) -> Event:
        return Event(at_ns=at_ns, source=SAMPLER, kind=kind, server=server, detail=detail)


def _cpu_ratio(watched: Watched, cpu_s: float, at_ns: int) -> float | None:
    """Share of one core since the reading before; None at the first one."""
    before_s, before_ns = watched.cpu_s, watched.cpu_at_ns
    watched.cpu_s, watched.cpu_at_ns = cpu_s, at_ns
    if before_s is None or at_ns <= before_ns:
        return None
    return max(0.0, cpu_s - before_s) / ((at_ns - before_ns) / NS_PER_S)


def listeners(ports: Iterable[int]) -> dict[int, int]:
    """The process that listens on each of these ports, as far as we may see it."""
    wanted = set(ports)
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return {}
    found: dict[int, int] = {}
    for connection in connections:
        port = getattr(connection.laddr, "port", None)  # an address may be empty
        if connection.status == psutil.CONN_LISTEN and connection.pid and port in wanted:
            found[port] = connection.pid
    return found


def family() -> list[tuple[psutil.Process, str]]:
    """The processes of this run and their roles: ourselves, whoever started us, and what else it started."""
    found = [(psutil.Process(os.getpid()), "sampler")]
    try:
        parent = psutil.Process(os.getppid())
        candidates = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return found
    for process in candidates:
        try:
            role = role_of(process.cmdline())
        except psutil.Error:
            continue
        if role is not None and role != "sampler":
            found.append((process, role))
    return found

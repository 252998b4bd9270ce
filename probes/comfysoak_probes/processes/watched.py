"""One process that is followed: a row a reading, with what costs more read rarely."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Process
from comfysoak_probes.processes.connections import Connections
from comfysoak_probes.processes.endings import Ending, in_words
from comfysoak_probes.processes.reading import GoneError, ProcessReading, age_ns, read_process
from comfysoak_probes.source import Tick

COUNTED_EVERY_S = 30.0  # open files and connections: the table of all sockets of a host costs 8 ms
MEMORY_EVERY_S = 60.0  # the kernel walks all pages of the process for uss and swap: 14 ms a GiB
MEMORY_COST_MOST = 0.002  # of a core: a process of 100 GiB is walked more rarely
NOT_COUNTED = "handles,connections,connections_half_closed: counted every 30 s"
NO_PORT = "connections,connections_half_closed: counted for a server's own process"
NOT_WALKED = "uss_bytes,swap_bytes: read once a minute, of large processes more rarely"

HANDLES = "num_handles" if psutil.WINDOWS else "num_fds"

SERVER, CHILD, PROXY = "server", "server_child", "proxy"


@dataclass(slots=True)
class Counted:
    """What is read every 30 s."""

    handles: int | None = None
    connections: int | None = None
    half_closed: int | None = None


@dataclass(slots=True)
class Walked:
    """What is read every 60 s (bytes)."""

    uss: int | None = None
    swap: int | None = None


@dataclass(slots=True)
class WatchedProcess:
    """A process in a role; `first` tells it from a later one with the same id."""

    pid: int
    role: str
    server: str | None
    port: int | None
    name: str
    first: ProcessReading
    started_ns: int
    ending: Ending | None
    _cpu_before: tuple[float, int] | None = None
    _counted: bool = False
    _walk_due_ns: int = 0

    @classmethod
    def follow(
        cls, pid: int, role: str, clock: Clock, *, server: str | None = None, port: int | None = None
    ) -> WatchedProcess:
        """Raises GoneError when there is no such process."""
        ending = Ending(pid) if role == SERVER else None
        try:
            first = read_process(pid)
            name = psutil.Process(pid).name()[:100]
        except (GoneError, psutil.Error) as error:
            if ending is not None:
                ending.close()
            raise GoneError from error
        return cls(pid, role, server, port, name, first, clock.now_ns() - age_ns(first), ending)

    def row(self, tick: Tick, connections: Connections | None, *, host: str, clock: Clock) -> Process:
        """What it has used until now; open files and connections only with a look at the latter, or at first.

        Raises GoneError when it has ended, also when another one has its id now.
        """
        began_ns = clock.now_ns()
        reading = read_process(self.pid)
        if reading.born != self.first.born:
            raise GoneError
        missing: list[str] = []
        counted = self._count(connections, missing)
        walked = self._walk(tick, clock, missing)
        if reading.missing:
            missing.append(reading.missing)
        return Process(
            at_ns=began_ns,
            read_cost_ns=clock.now_ns() - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=host,
            pid=self.pid,
            role=self.role,
            server=self.server,
            name=self.name,
            parent_pid=reading.parent_pid,
            started_ns=self.started_ns,
            cpu_ratio=self._cpu_ratio(reading.cpu_s, began_ns, missing),
            cpu_seconds=reading.cpu_s,
            rss_bytes=reading.rss_bytes,
            uss_bytes=walked.uss,
            swap_bytes=walked.swap,
            read_bytes=reading.read_bytes,
            written_bytes=reading.written_bytes,
            handles=counted.handles,
            connections=counted.connections,
            connections_half_closed=counted.half_closed,
            threads=reading.threads,
            missing="; ".join(missing) or None,
        )

    def end_in_words(self, gone: GoneError, now_ns: int) -> str:
        """How it ended, as far as that can be known, and how long it ran."""
        status = gone.status
        if status is None and self.ending is not None:
            status = self.ending.status()
        ran_s = (now_ns - self.started_ns) / NS_PER_S
        return f"process {self.pid}, {self.name}: {in_words(status)}; it ran for {ran_s:,.0f} s, {self._started()}"

    def start_in_words(self) -> str:
        """The id, the name and the start time."""
        return f"process {self.pid}, {self.name}, {self._started()}"

    def _started(self) -> str:
        return f"started {datetime.fromtimestamp(self.started_ns // NS_PER_S, UTC):%Y-%m-%dT%H:%M:%SZ}"

    def close(self) -> None:
        """Let go of the handle to it."""
        if self.ending is not None:
            self.ending.close()

    def _cpu_ratio(self, cpu_s: float, at_ns: int, missing: list[str]) -> float | None:
        """Share of one core since the reading before."""
        before, self._cpu_before = self._cpu_before, (cpu_s, at_ns)
        if before is None or at_ns <= before[1]:
            missing.append("cpu_ratio: the first reading")
            return None
        return max(0.0, cpu_s - before[0]) / ((at_ns - before[1]) / NS_PER_S)

    def _count(self, connections: Connections | None, missing: list[str]) -> Counted:
        if connections is None and self._counted:
            missing.append(NOT_COUNTED)
            return Counted()
        self._counted = True
        found = Counted(handles=self._handles(missing))
        if self.port is None:
            missing.append(NO_PORT)
            return found
        try:
            found.connections, found.half_closed = (connections or Connections()).to(self.pid, self.port)
        except (psutil.Error, OSError) as error:
            missing.append(f"connections,connections_half_closed: {type(error).__name__}")
        return found

    def _handles(self, missing: list[str]) -> int | None:
        try:
            return int(getattr(psutil.Process(self.pid), HANDLES)())
        except (psutil.Error, OSError, AttributeError) as error:
            missing.append(f"handles: {type(error).__name__}")
            return None

    def _walk(self, tick: Tick, clock: Clock, missing: list[str]) -> Walked:
        if tick.deadline_ns < self._walk_due_ns:
            missing.append(NOT_WALKED)
            return Walked()
        began_ns = clock.now_ns()
        try:
            memory = psutil.Process(self.pid).memory_full_info()
        except (psutil.Error, OSError) as error:
            missing.append(f"uss_bytes,swap_bytes: {type(error).__name__}")
            return Walked()
        finally:
            cost_ns = clock.now_ns() - began_ns
            self._walk_due_ns = tick.deadline_ns + max(
                round(MEMORY_EVERY_S * NS_PER_S), round(cost_ns / MEMORY_COST_MOST)
            )
        swap = getattr(memory, "swap", None)
        if swap is None:
            missing.append("swap_bytes: this system does not tell")
        return Walked(memory.uss, swap)

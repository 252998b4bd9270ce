"""Containers and control groups that servers of this host live in: limits, use, kills, ends and starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.codes import Code
from comfysoak_core.rows import Event, Row
from comfysoak_probes.containers.cgroup import ROOT, number
from comfysoak_probes.containers.end import Ending
from comfysoak_probes.containers.engine import ContainerEngine, EngineError
from comfysoak_probes.containers.home import Home, gib
from comfysoak_probes.containers.usage import MemoryUse, identity_of, oom_kills_of, read_cpu, read_memory
from comfysoak_probes.host.kernel import PROC
from comfysoak_probes.processes.search import Search
from comfysoak_probes.server.server_process import Finder, Nowhere, ServerProcess
from comfysoak_probes.source import SAMPLER, Backoff, Cadence, Outage, Tick

EVERY_S = 1.0
LIMITS_EVERY_S = 10.0  # they change when somebody changes them
ELSEWHERE_EVERY_S = 300.0
SEARCH_FIRST_S, SEARCH_MOST_S = 1.0, 60.0  # a search costs tens of milliseconds
TOLD_AFTER = 5  # searches in vain: a server may just be starting


class ContainerSource:
    """Limits and use of one server's container or control group, at 1 Hz; follows the server over restarts.

    No rows when the server runs on another host, or in no container and without limits. `root` is where control
    groups are mounted, `proc` where processes are, `system_s` the clock of the container engine.
    """

    patience_s = 5.0

    def __init__(
        self,
        server: str,
        *,
        host: str,
        clock: Clock,
        engine: ContainerEngine | None = None,
        search: Search | None = None,
        root: Path = ROOT,
        proc: Path = PROC,
        system_s: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"container of {server}"
        self.every_s = EVERY_S
        self._server = server
        self._host = host
        self._clock = clock
        self._engine = engine or ContainerEngine()
        self._finder = Finder(server, self._engine, proc=proc, listening=(search or Search()).holders)
        self._root = root
        self._proc = proc
        self._system_s = system_s
        self._home: Home | None = None
        self._before: Home | None = None
        self._ending: Ending | None = None
        self._limits_due = Cadence(LIMITS_EVERY_S)
        self._search = Backoff(SEARCH_FIRST_S, SEARCH_MOST_S)
        self._search_ns = 0
        self._unseen = Outage("container", server)
        self._unasked = Outage("container engine", server)

    def read(self, tick: Tick) -> list[Row]:
        """At most one row, and events about what came to an end or began."""
        rows: list[Row] = []
        if self._home is not None:
            rows += self._watch(self._home, tick)
        if self._ending is not None:
            rows += self._ask_for_end(self._ending, tick.began_ns)
        if self._home is None and tick.began_ns >= self._search_ns:
            rows += self._look_for(tick.began_ns)
        return rows

    def close(self) -> None:
        """Close the connections to engines."""
        self._engine.close()

    def _watch(self, home: Home, tick: Tick) -> list[Row]:
        if self._limits_due.due(tick.deadline_ns):
            home.look_again(self._root, self._proc)
        self.every_s = EVERY_S if home.is_bounded else LIMITS_EVERY_S
        began_ns = self._clock.now_ns()
        rows = self._reading(home, began_ns, tick) if home.is_bounded and not home.groups.hidden else []
        if not home.process.lives:
            return [*(row for row in rows if isinstance(row, Event)), *self._leave(home, began_ns)]
        home.alive_s = self._system_s()
        return rows

    def _reading(self, home: Home, began_ns: int, tick: Tick) -> list[Row]:
        cpu, memory = read_cpu(home.groups), read_memory(home.groups, home.limits)
        processes = number(home.groups.processes.own / "pids.current") if home.groups.processes else None
        row = home.row(
            at_ns=began_ns,
            cost_ns=self._clock.now_ns() - began_ns,
            late_ns=max(0, began_ns - tick.deadline_ns),
            host=self._host,
            server=self._server,
            cpu=cpu,
            memory=memory,
            processes=processes,
        )
        return [row, *self._kills(home, memory, began_ns)]

    def _kills(self, home: Home, memory: MemoryUse, at_ns: int) -> list[Event]:
        """The kernel killed in its group since the reading before."""
        before, now = home.oom_kills, memory.oom_kills
        if now is None:
            return []  # the group is gone, and the one around it may have counted its end: that is looked at later
        home.oom_kills = now
        home.oom_kills_above = memory.oom_kills_above if memory.oom_kills_above is not None else home.oom_kills_above
        if before is None or now <= before:
            return []
        home.killed_ns = at_ns
        detail = f"the kernel killed in {home.words} for memory: oom_kill rose from {before} to {now}; {home.bounds}"
        detail += f", most used {gib(memory.peak_bytes)}" if memory.peak_bytes is not None else ""
        return [self._event(at_ns, "container_oom_kill", home, detail, Code.CGROUP_OOM)]

    def _leave(self, home: Home, at_ns: int) -> list[Event]:
        """Its process is gone: a last look at its group, and from now on questions about the end of its container."""
        events: list[Event] = []
        group = home.groups.memory
        if group is not None and identity_of(group) == home.memory_group:
            events = self._kills(home, MemoryUse(oom_kills=oom_kills_of(group)), at_ns)
        self._home, self._before = None, home
        self._ending = Ending(home, at_ns) if home.is_bounded else None
        self._search.reset()
        self._search_ns = 0
        return events

    def _ask_for_end(self, ending: Ending, at_ns: int) -> list[Event]:
        end = ending.look(self._engine, self._system_s())
        if end is None:
            self._ending = None if ending.has_waited(at_ns) else ending
            return []
        self._ending = None
        code = Code.CGROUP_OOM if end.oom else None
        return [self._event(at_ns, "container_exited", ending.home, f"{ending.home.words}: {end.words}", code)]

    def _look_for(self, at_ns: int) -> list[Event]:
        found = self._finder.find()
        self.every_s = EVERY_S
        if isinstance(found, ServerProcess):
            self._search.reset()
            return self._arrive(found, at_ns)
        if found.elsewhere:
            self.every_s = ELSEWHERE_EVERY_S
            return []
        self._search_ns = at_ns + round(self._search.next_s() * NS_PER_S)
        return self._not_found(found, at_ns)

    def _not_found(self, found: Nowhere, at_ns: int) -> list[Event]:
        if self._before is not None or self._search.tries < TOLD_AFTER:
            return []  # it is down, which others tell, or just starting
        return self._unseen.lost(at_ns, found.reason)

    def _arrive(self, process: ServerProcess, at_ns: int) -> list[Event]:
        home, before = Home.of(process, self._root, self._proc), self._before
        self._home = home
        home.alive_s = self._system_s()
        events = self._inspect(home, at_ns)
        memory = read_memory(home.groups, home.limits)
        home.oom_kills, home.oom_kills_above = memory.oom_kills, memory.oom_kills_above
        if home.groups.hidden and (home.container or home.groups.outside):
            return events + self._unseen.lost(at_ns, f"{home.words} is not visible from here: no limits, no use")
        events += self._unseen.found(at_ns, "its process was found")
        detail = f"{home.words}, process {process.pid}; {home.bounds}"
        if before is None:
            return [*events, self._event(at_ns, "container_found", home, detail)] if home.is_bounded else events
        if not home.is_another_start_than(before) or not home.is_bounded:
            return events
        return [*events, self._event(at_ns, "container_started", home, f"{detail}; before it {before.words}")]

    def _inspect(self, home: Home, at_ns: int) -> list[Event]:
        if home.process.container is None:
            return []
        try:
            home.told = self._engine.inspect(home.process.container)
        except EngineError as error:
            home.untold = str(error)
            return self._unasked.lost(at_ns, f"{error}: no name, no image, and exit codes will not be known")
        home.untold = None if home.told else "no container engine here knows it"
        return self._unasked.found(at_ns)

    def _event(self, at_ns: int, kind: str, home: Home, detail: str, code: Code | None = None) -> Event:
        return Event(at_ns=at_ns, source=SAMPLER, kind=kind, server=self._server, subject=home.container,
                     code=code, detail=detail)  # fmt: skip

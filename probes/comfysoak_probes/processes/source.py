"""The servers' processes, found by the ports they listen on and followed over restarts, and those of the harness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from comfysoak_core.clock import NS_PER_S, Clock
from comfysoak_core.rows import Event, Row
from comfysoak_probes.processes.connections import Connections
from comfysoak_probes.processes.listeners import Held, Place, own_addresses, place_of
from comfysoak_probes.processes.names import ProcessNames
from comfysoak_probes.processes.reading import GoneError
from comfysoak_probes.processes.search import Search
from comfysoak_probes.processes.tree import Parents, family
from comfysoak_probes.processes.watched import CHILD, COUNTED_EVERY_S, PROXY, SERVER, WatchedProcess
from comfysoak_probes.source import SAMPLER, Backoff, Cadence, Outage, Tick

SEARCH_FIRST_S, SEARCH_MOST_S = 5.0, 30.0
TREE_EVERY_S = 10.0
CHILDREN_MOST = 64  # rows a server; a server that starts more is a finding, not a reason to write thousands of rows
ELSEWHERE = (
    "it runs on another host: its process is not followed from here; `comfysoak probe --listen` there can follow it"
)


@dataclass(slots=True)
class Sought:
    """A server whose process is looked for while it is not followed."""

    server: str
    hidden: Outage
    place: Place | None = None
    elsewhere: bool = False
    due_ns: int = 0
    backoff: Backoff = field(default_factory=lambda: Backoff(SEARCH_FIRST_S, SEARCH_MOST_S))
    last: tuple[int, float] | None = None  # id and birth of the process that was followed last
    looked_hidden: bool = False  # at the last search: one that is just ending looks so for a moment

    def again(self, now_ns: int) -> None:
        """Look again, later each time."""
        self.due_ns = now_ns + round(self.backoff.next_s() * NS_PER_S)

    def at_once(self) -> None:
        """It was there a moment ago: look at the next reading, and then often."""
        self.backoff.reset()
        self.due_ns = 0


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
        search: Search | None = None,
        with_family: bool = True,
    ) -> None:
        self.every_s = every_s
        self._host = host
        self._clock = clock
        self._names = names
        self._holders = (search or Search()).holders
        self._with_family = with_family
        self._sought = [Sought(server, Outage("processes", server)) for server in servers]
        self._tree_due = Cadence(TREE_EVERY_S)
        self._count_due = Cadence(COUNTED_EVERY_S)
        self._parents = Parents()
        self._watched: dict[tuple[int, str, str | None], WatchedProcess] = {}

    def read(self, tick: Tick) -> list[Row]:
        """Rows of the processes that are there, events about servers' processes that came or went."""
        rows: list[Row] = []
        connections = Connections() if self._count_due.due(tick.deadline_ns) else None
        for key, watched in list(self._watched.items()):
            try:
                rows.append(watched.row(tick, connections, host=self._host, clock=self._clock))
            except GoneError as gone:
                del self._watched[key]
                rows += self._gone(watched, gone)
        found = list(self._search(tick.began_ns))
        if self._tree_due.due(tick.deadline_ns) or found:
            self._look_at_trees()
        self._tell_names()
        return rows + found

    def close(self) -> None:
        """Let go of the handles to processes."""
        for watched in self._watched.values():
            watched.close()

    def _search(self, now_ns: int) -> Iterator[Event]:
        """Look for the servers' processes that are not followed and due."""
        seen = {watched.server for watched in self._watched.values() if watched.role == SERVER}
        due = [one for one in self._sought if one.server not in seen and not one.elsewhere and one.due_ns <= now_ns]
        for sought in due:
            sought.again(now_ns)
            yield from self._locate(sought, now_ns)
        held = self._holders([one.place for one in due if one.place is not None])
        for sought in due:
            if sought.place is not None:
                yield from self._found(sought, held[sought.place], now_ns)

    def _locate(self, sought: Sought, now_ns: int) -> Iterator[Event]:
        try:
            sought.place = place_of(sought.server, own_addresses)
        except OSError:
            return  # a name that nobody knows now; whoever asks the server says so
        if sought.place is None:
            sought.elsewhere = True
            yield _event(now_ns, "server_process_elsewhere", sought.server, ELSEWHERE)

    def _found(self, sought: Sought, held: Held, now_ns: int) -> list[Event]:
        ending = sought.last is not None and not sought.looked_hidden
        sought.looked_hidden = held.hidden is not None
        if held.hidden is not None:
            return [] if ending else sought.hidden.lost(now_ns, held.hidden)
        if not held.pids and held.proxy is None:
            return []
        pid, role = (held.pids[0], SERVER) if held.pids else (held.proxy, PROXY)
        port = None if sought.place is None else sought.place.port
        try:
            watched = self._follow(int(pid or 0), role, sought.server, port)
        except GoneError:
            return []
        before, sought.last = sought.last, (watched.pid, watched.first.born)
        events = sought.hidden.found(now_ns, "the server's process can be seen")
        if before == sought.last:
            return events
        if role == SERVER and self._leave_proxies(sought.server):
            before = None
        detail = ", ".join([watched.start_in_words(), *_circumstances(held), *_replaced(before)])
        return [*events, _event(now_ns, "server_process", sought.server, detail)]

    def _leave_proxies(self, server: str) -> bool:
        """The server itself can be seen now (a container's proxy listens before it); True when one was followed."""
        proxies = [key for key, one in self._watched.items() if one.role == PROXY and one.server == server]
        for key in proxies:
            self._watched.pop(key).close()
        return bool(proxies)

    def _gone(self, watched: WatchedProcess, gone: GoneError) -> list[Event]:
        self._parents.forget(watched.pid)
        if watched.role not in {SERVER, PROXY}:
            return []
        now_ns = self._clock.now_ns()
        for sought in self._sought:
            if sought.server == watched.server:
                sought.at_once()
        detail = watched.end_in_words(gone, now_ns)
        watched.close()
        return [_event(now_ns, "server_process_gone", watched.server, detail)]

    def _look_at_trees(self) -> None:
        """What the servers and the harness have started since; what it started before is followed until it ends."""
        self._parents.look()
        if self._with_family:
            for pid, role in family(self._parents):
                self._try_to_follow(pid, role, None)
        roots = [watched for watched in self._watched.values() if watched.role in {SERVER, CHILD}]
        for root in roots:
            if root.role == SERVER:
                for pid in self._parents.below(root.pid)[:CHILDREN_MOST]:
                    self._try_to_follow(pid, CHILD, root.server)

    def _try_to_follow(self, pid: int, role: str, server: str | None) -> None:
        try:
            self._follow(pid, role, server, None)
        except GoneError:
            self._parents.forget(pid)

    def _follow(self, pid: int, role: str, server: str | None, port: int | None) -> WatchedProcess:
        key = (pid, role, server)
        if key not in self._watched:
            if role == SERVER:
                self._watched.pop((pid, CHILD, server), None)  # it outlived the process that started it
            self._watched[key] = WatchedProcess.follow(pid, role, self._clock, server=server, port=port)
        return self._watched[key]

    def _tell_names(self) -> None:
        """Who belongs to the servers: nobody's memory is foreign while some server's process cannot be seen."""
        watched = self._watched.values()
        unseen = any(one.hidden.since_ns is not None for one in self._sought) or any(w.role == PROXY for w in watched)
        servers = frozenset(one.pid for one in watched if one.role in {SERVER, CHILD})
        self._names.servers = servers if servers and not unseen else None
        self._names.own = frozenset(one.pid for one in watched if one.server is None)


def _circumstances(held: Held) -> Iterable[str]:
    if held.proxy is not None:
        yield (
            f"behind process {held.proxy}, which listens for it"
            if held.pids
            else ("which passes connections on: the server's own process cannot be seen from here")
        )
    if held.contained:
        yield "in the network of a container"
    if len(held.pids) > 1:
        yield f"the first of {len(held.pids)} processes that listen on its port"


def _replaced(before: tuple[int, float] | None) -> Iterable[str]:
    return [] if before is None else [f"in the place of process {before[0]}"]


def _event(at_ns: int, kind: str, server: str | None, detail: str) -> Event:
    return Event(at_ns=at_ns, source=SAMPLER, kind=kind, server=server, detail=detail)

"""What the load would have written of its sockets and of itself, and the events that everybody told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.planted.columns import lasting, ns, share, whole
from benchmarks.planted.course import Course
from benchmarks.planted.load_tables import Names
from benchmarks.planted.world import Cut, Outage, World

Batch = dict[str, Any]


@dataclass(slots=True)
class _Socket:
    """One socket, from the attempt to open it to its end."""

    id: str
    url: str
    role: str
    client: str
    opening: float
    opened: float
    closed: float
    close_code: float
    closed_by: str
    reason: str | None
    code: str | None
    after: str | None
    silent_s: float


@dataclass(slots=True)
class _Ear:
    """A user or a watcher, as far as it is connected to one server."""

    world: World
    course: Course
    client: str
    server: int
    role: str
    start: float
    rows: list[_Socket] = field(default_factory=list)

    def live(self, cuts: list[Cut]) -> list[_Socket]:
        """Its sockets, one after the other; in the end its client leaves."""
        numbers, opening, end = self.world.random, self.start, self.course.end
        outages = [one for one in self.world.script.outages if one.server == self.server]
        reason = "connection ended without a close frame"
        died = [
            Cut(0, one.from_s + float(numbers.uniform(0, 0.03)), 1006, "network", "WS_ABNORMAL", reason)
            for one in outages
        ]
        for cut in sorted([*cuts, *died], key=lambda cut: cut.at_s):
            if not opening < cut.at_s < end:
                continue
            self._add(opening, opening + 0.004, cut.at_s, cut.close_code, cut.closed_by, cut.reason, cut.code)
            opening = cut.at_s + float(numbers.uniform(0.05, 0.6))
            outage = next((one for one, its in zip(outages, died, strict=True) if its is cut), None)
            opening = opening if outage is None else self._refused(opening, outage)
        if opening < end:
            closed = max(end - float(numbers.uniform(0.2, 0.9)), opening + 0.01)
            self._add(opening, opening + 0.004, closed, 1000, "client", None, None)
        if self.rows:
            self.rows[-1].after = None
        return self.rows

    def _refused(self, opening: float, outage: Outage) -> float:
        """Attempts while the server is away, with growing pauses; when the first one comes after it."""
        pause, back = 0.2, self.course.end if outage.back_s is None else outage.back_s
        reason = "connection refused: [Errno 111] Connection refused"
        while opening < back:
            self._add(opening, math.nan, opening + 0.001, math.nan, "refused", reason, "SERVER_DOWN")
            pause = min(pause * 2, 8.0)
            opening += pause * float(self.world.random.uniform(0.7, 1.3))
        return opening

    def _add(
        self,
        opening: float,
        opened: float,
        closed: float,
        close_code: float,
        by: str,
        reason: str | None,
        code: str | None,
    ) -> None:
        name = f"{self.client}-{self.server}" if self.server else self.client
        turn = len(self.rows) + 1
        silent = sum(until - since for where, since, until in self.world.script.silent
                     if where == self.server and opening < until and since < closed)  # fmt: skip
        self.rows.append(
            _Socket(
                id=f"{name}/{turn}",
                url=self.world.machines[self.server].url,
                role=self.role,
                client=self.client,
                opening=opening,
                opened=opened,
                closed=closed,
                close_code=close_code,
                closed_by=by,
                reason=reason,
                code=code,
                after=f"{name}/{turn + 1}",
                silent_s=silent,
            )
        )


def sessions(world: World, course: Course, names: Names) -> Batch:
    """Sockets of users and watchers; those that were cut are opened again."""
    numbers, count = world.random, names.users + world.watchers
    rows: list[_Socket] = []
    for who in range(count):
        is_user = who < names.users
        cuts = [cut for cut in world.script.cuts if cut.who % count == who]
        start = (world.cold_start_s or 0.0) + (float(numbers.uniform(0.1, 2)) if is_user else 0.05 + 0.02 * who)
        role = "user" if is_user else "watcher"
        servers = range(len(world.machines)) if is_user else [who % len(world.machines)]
        for place, server in enumerate(servers):
            rows += _Ear(world, course, names.clients[who], server, role, start).live([] if place else cuts)
    opened, closed = np.array([row.opened for row in rows]), np.array([row.closed for row in rows])
    lived = np.where(np.isfinite(opened), closed - opened, 0.0)
    quiet = numbers.uniform(3, 9, len(rows)) + np.array([row.silent_s for row in rows])
    rate = 3.0 * len(course.lives) / max(course.end, 1.0)
    return {
        "id": [row.id for row in rows],
        "server": [row.url for row in rows],
        "worker": "load-0",
        "role": [row.role for row in rows],
        "client_id": [row.client for row in rows],
        "opening_ns": ns([row.opening for row in rows]),
        "opened_ns": ns(opened),
        "closed_ns": ns(closed),
        "close_code": whole([row.close_code for row in rows]),
        "closed_by": [row.closed_by for row in rows],
        "reason": pa.array([row.reason for row in rows], pa.string()),
        "code": pa.array([row.code for row in rows], pa.string()),
        "messages": np.round(1 + rate * lived).astype(np.int64),
        "message_bytes": np.round(90 + rate * 90 * lived).astype(np.int64),
        "longest_silence_ns": lasting(np.where(np.isfinite(opened), np.minimum(quiet, lived), np.nan)),
        "reopened_as": pa.array([row.after for row in rows], pa.string()),
    }


def generator(world: World, course: Course) -> Batch:
    """The load process about itself, once a second."""
    numbers = world.random
    at = np.arange(0.6, course.end - 0.2, max(world.every_s, 1.0)) + numbers.uniform(0, 0.002)
    sent = np.sort([life.due for life in course.lives])
    done = np.sort([min(life.finished, course.end) for life in course.lives])
    flight = np.searchsorted(sent, at) - np.searchsorted(done, at)
    users = max((life.user for life in course.lives), default=0) + 1
    return {
        "at_ns": ns(at),
        "worker": "load-0",
        "pid": 4711,
        "users": 0 if world.load.is_open else users,
        "sockets": users + world.watchers,
        "in_flight": np.maximum(flight, 0).astype(np.int64),
        "cpu_ratio": share(np.clip(numbers.normal(0.08, 0.02, len(at)), 0.01, None)),
        "lag_max_ns": lasting(numbers.exponential(0.002, len(at)) + 0.001),
        "lateness_max_ns": lasting(numbers.exponential(0.001, len(at)) + 0.0003),
        "handles": 23 + users + world.watchers,
        "handle_limit": 20_000,
        "rss_bytes": whole(82e6 + 2e6 * (1 - np.exp(-at / 300)) + numbers.normal(0, 2e5, len(at))),
        "journal_errors": 0,
        "rows_dropped": 0,
    }


def events(world: World, course: Course) -> Batch:
    """What load, sampler and supervisor told."""
    rows: list[tuple[float, str, str, int | None, str | None, str | None, str]] = []
    for index, machine in enumerate(world.machines):
        if world.gateway is None:
            rows.append((-0.9, "sampler", "server_process", index, None, None, f"process {machine.pid}, python"))
        title = f"GPU {machine.index} of {machine.host}, {machine.gpu_name}, driver 580.65.06"
        rows.append((-0.89, "sampler", "gpu", None, machine.uuid, None, title))
        if world.has_log:
            rows.append((-0.88, "sampler", "log_source", index, "log", None, "log lines come by socket"))
    cold, stages = world.cold_start_s or 0.0, 2 + (world.cold_start_s is not None)
    if cold:
        rows.append((0.0, "load-0", "phase", None, "cold start", None, f"stage 1 of {stages}: a cold start"))
    rows.append((cold, "load-0", "phase", None, "warmup", None, f"stage {stages - 1} of {stages}"))
    rows.append((world.measured_s, "load-0", "phase", None, "load", None, f"stage {stages} of {stages}"))
    for began, free, until in course.settles:
        rows.append((began - 0.5, "load-0", "phase", None, "settle", None, "servers let their memory go"))
        for index in range(len(world.machines)):
            rows.append(
                (free, "load-0", "settled", index, "begin", None, "free memory: 9.10 GiB before, 22.9 GiB after")
            )
            rows.append((until, "load-0", "settled", index, "end", None, ""))
        rows.append((until + 0.01, "load-0", "phase", None, "load", None, "the load goes on"))
    rows += [
        (one.at_s, one.source, one.kind, one.server, one.subject, one.code, one.detail) for one in world.script.told
    ]
    rows.append((course.end, "supervisor", "end", None, "finished", None, ""))
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True))
    urls = [None if index is None else world.machines[index].url for index in columns[3]]
    return {
        "at_ns": ns(np.array(columns[0], dtype=np.float64)),
        "source": list(columns[1]),
        "kind": list(columns[2]),
        "server": pa.array(urls, pa.string()),
        "subject": pa.array(columns[4], pa.string()),
        "code": pa.array(columns[5], pa.string()),
        "detail": list(columns[6]),
    }
